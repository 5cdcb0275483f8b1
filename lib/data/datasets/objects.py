"""Sets of things, for the classification sources: CIFAR, Tiny-ImageNet, scikit-learn's digits."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from lib.data.datasets.faces import from_array
from lib.data.download import fetch_file, unpack
from lib.data.readers.archives import Store, digest
from lib.data.readers.decode import ImageFiles, from_files, image_files, natural, read_array
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

BINARIES = {"cifar-10-batches-py": ("cifar10", "CIFAR10"), "cifar-100-python": ("cifar100", "CIFAR100")}
CIFAR_CREDIT = "CIFAR (Krizhevsky 2009)"


def load_cifar(store: Store, *, name: str) -> ImageSet:
    """CIFAR-10 or -100: 50 000 + 10 000 RGB images 32x32; `splits` train and test.

    Read from torchvision's binaries, whose checksums it verifies, or from `<split>/<class>/<index>.png`.
    """
    if store.path.name in BINARIES:
        return _binaries(name, store.path.parent, f"data root: {store.label}")
    files = sorted(image_files(store), key=lambda file: (file.split("/")[-3:-2] != ["train"], file.split("/")[-1]))
    words = [["", "", *file.split("/")] for file in files]
    splits = by_split(store, [word[-3] for word in words], ("train", "test"))
    return from_files(name, ImageFiles(store, files), [word[-2] for word in words], splits=splits, credit=CIFAR_CREDIT)


def fetch_cifar(root: Path, *, name: str) -> None:
    """CIFAR as torchvision publishes it (170 MB), as the folder of binaries that torchvision reads."""
    import torchvision

    kind = getattr(torchvision.datasets, dict(BINARIES.values())[name])
    archive = fetch_file(kind.url, root / kind.filename, kind.tgz_md5)
    unpack(archive, root / kind.base_folder, kind.base_folder)


def _binaries(name: str, root: Path, source: str) -> ImageSet:
    import torchvision

    kind = getattr(torchvision.datasets, dict(BINARIES.values())[name])
    try:
        parts = [kind(root, train=train) for train in (True, False)]
    except RuntimeError as error:
        raise WorkbookError(f"{source.split(': ')[-1]} is not whole (its checksums differ): fetch it again.") from error
    array = torch.from_numpy(np.concatenate([part.data for part in parts])).permute(0, 3, 1, 2).contiguous()
    n = len(parts[0])
    return ImageSet(
        name=name,
        source=source,
        labels=torch.tensor([label for part in parts for label in part.targets]),
        classes=list(parts[0].classes),
        names=[
            f"{split}/{at:05d}" for split, part in zip(("train", "test"), parts, strict=True) for at in range(len(part))
        ],
        read=partial(read_array, array=array),
        fingerprint=digest([name, *(row[1] for row in kind.train_list + kind.test_list)]),
        splits={"train": torch.arange(n), "test": torch.arange(n, len(array))},
        credit=CIFAR_CREDIT,
    )


def by_split(store: Store, parts: list[str], known: tuple[str, ...]) -> dict[str, torch.LongTensor]:
    """Positions by split; each image names its own in `parts`."""
    if not set(parts) <= set(known):
        raise WorkbookError(
            f"{store.label} is expected to hold {' and '.join(known)} folders with a folder per class: check it."
        )
    return {
        name: torch.tensor([at for at, part in enumerate(parts) if part == name]) for name in known if name in parts
    }


def load_tiny_imagenet(store: Store, *, size: int = 64) -> ImageSet:
    """Tiny-ImageNet, RGB 64x64, `splits` train and val: the official folder or zip, or the part with 20 classes.

    Classes are WordNet ids in order; the official test part has no labels and is left out.
    """
    files = [name for name in image_files(store) if "/test/" not in f"/{name}"]
    table = store.find("val/val_annotations.txt")
    listed = dict(line.split("\t")[:2] for line in store.text(table).splitlines()) if table else {}
    keys = []
    parts = []
    for words in (name.split("/") for name in files):
        folders = ["", "", *(word for word in words[:-1] if word != "images")]
        official = folders[-1] == "val"  # the official val part is one folder with a list of labels
        keys.append(listed.get(words[-1], "") if official else folders[-1])
        parts.append("val" if official else folders[-2])
    splits = by_split(store, parts, ("train", "val"))
    if "" in keys:
        raise WorkbookError(f"val_annotations.txt in {store.label} does not list all of its images: fetch it again.")
    classes = sorted(set(keys), key=natural)
    credit = "Tiny-ImageNet (ImageNet, Deng et al. 2009)"
    return from_files(
        "tiny_imagenet", ImageFiles(store, files, size=size), keys, classes=classes, splits=splits, credit=credit
    )


def load_digits(*, size: int = 8, channels: int = 1) -> ImageSet:
    """scikit-learn's 1797 handwritten digits, 8x8 gray; `splits` train (the first 1437) and test (the last 360).

    Larger `size` interpolates, `channels=3` repeats: a stand-in where a page expects small colour images.
    """
    from sklearn.datasets import load_digits as bundled

    bunch = bundled()
    array = torch.from_numpy(bunch.images / 16 * 255).float().unsqueeze(1)
    if size != 8:
        array = interpolate(array, size, mode="bilinear")
    array = array.round().byte().repeat(1, channels, 1, 1)
    splits = {"train": torch.arange(1437), "test": torch.arange(1437, len(array))}
    keys = [str(label) for label in bunch.target]
    return from_array("digits", "embedded: scikit-learn digits", array, keys, splits=splits, credit="scikit-learn")
