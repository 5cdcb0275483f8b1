"""Face sets with people as labels: LFW, CFP, the CelebA part, AT&T, Olivetti."""

import hashlib
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from lib.data.alignment import TEMPLATE, similarity
from lib.data.download import fetch_file, unpack
from lib.data.pairs import cfp_pairs, lfw_pairs
from lib.data.photos import MatricesWhenRead, find_points
from lib.data.readers.archives import Store, open_store
from lib.data.readers.decode import ImageFiles, from_files, image_files, numbered, read_array
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

LFW_CREDIT = "Labeled Faces in the Wild (Huang et al. 2007)"
FUNNELED = "lfw_funneled"  # the folder of raw pictures in scikit-learn's archive
# Mean eyes, nose and mouth corners of LFW's 250x250 pictures, rounded to half a pixel.
LFW_POINTS = np.array([[104.5, 112], [145, 112], [125, 136.5], [107.5, 156], [142.5, 156]])
OLIVETTI = "olivetti_py3.pkz"
PARTITIONS = ("train", "val", "test")


def person(name: str) -> str:
    """The folder that a file lies in."""
    return name.split("/")[-2] if "/" in name else name.rsplit(".", 1)[0]


def load_lfw(
    store: Store,
    *,
    size: int = 112,
    name: str = "lfw",
    credit: str = LFW_CREDIT,
    source: str | None = None,
) -> ImageSet:
    """LFW, 13 233 RGB images of 5 749 people; `pairs['view2']` where its list lies beside: 6000 pairs in 10 folds.

    Aligned images are taken as they are. In a folder `lfw_funneled` of raw pictures the face nearest the centre is
    found, when it is first read, and brought to the template; where none is found the picture gets the mean crop.
    """
    files = image_files(store)
    stems = [file.split("/")[-1].rsplit(".", 1)[0] for file in files]
    crop = similarity(LFW_POINTS, TEMPLATE * size / 112)
    lists = [store.path.parent / file for file in ("lfw_pairs.txt", "pairs.txt")]
    found = next((path for path in lists if path.is_file()), None)
    text = found.read_text(errors="replace") if found else ""
    return from_files(
        name,
        ImageFiles(
            store,
            files,
            size=size,
            matrices=MatricesWhenRead(store, files, size, crop) if store.path.name == FUNNELED else None,
        ),
        [stem.rsplit("_", 1)[0] for stem in stems],
        source=source,
        salt=text,
        pairs={"view2": lfw_pairs(text, {stem: at for at, stem in enumerate(stems)}, found.name)} if found else {},
        credit=credit,
    )


def fetch_lfw(root: Path) -> None:
    """LFW as scikit-learn publishes it (funneled, 250x250, 233 MB) and its pairs, as `lfw_funneled` and `pairs.txt`.

    Its faces are found at once, so that no page waits for it.
    """
    from sklearn.datasets import _lfw as published

    pairs = next(target for target in published.TARGETS if target.filename == "pairs.txt")
    archive = published.FUNNELED_ARCHIVE
    fetch_file(pairs.url, root / pairs.filename, pairs.checksum)
    unpack(fetch_file(archive.url, root / archive.filename, archive.checksum), root / FUNNELED, FUNNELED)
    store = open_store(root / FUNNELED)
    find_points(store, image_files(store), "centre")


def load_cfp(store: Store, *, size: int = 112) -> ImageSet:
    """CFP: 500 people, 10 frontal and 4 profile RGB images each; `pairs['FF']` and `pairs['FP']`, ten folds each.

    `attributes['pose']` is 0 for frontal and 1 for profile.
    """
    files = image_files(store)
    place = {"/".join(name.split("/")[-3:]): at for at, name in enumerate(files)}
    return from_files(
        "cfp",
        ImageFiles(store, files, size=size),
        [name.split("/")[-3] for name in files],
        pairs={kind: cfp_pairs(store, kind, place) for kind in ("FF", "FP")},
        attributes={"pose": torch.tensor([person(name) == "profile" for name in files]).long()},
        credit="Celebrities in Frontal-Profile (Sengupta et al. 2016)",
    )


def load_celeba_sub(store: Store, *, size: int = 112, suspect: bool = False) -> ImageSet:
    """The CelebA part: 6 272 RGB images of 299 people, 146 of them doubtful and left out unless `suspect`.

    `splits` and `attributes['partition']` (0 train, 1 val, 2 test) follow CelebA's official partition.
    """
    doubtful = set() if suspect else {words[0] for words in _rows(store, "suspect.txt")}
    partition = {words[0]: int(words[2]) for words in _rows(store, "index.txt")}
    files = [name for name in image_files(store) if name.split("/")[-1] not in doubtful]
    parts = torch.tensor([partition.get(name.split("/")[-1], -1) for name in files])
    if (parts < 0).any():
        raise WorkbookError(f"index.txt in {store.label} does not list all of its images: fetch the archive again.")
    return from_files(
        "celeba_sub",
        ImageFiles(store, files, size=size),
        [person(name) for name in files],
        salt=str(suspect),
        splits={part: (parts == at).nonzero().flatten() for at, part in enumerate(PARTITIONS) if at in parts},
        attributes={"partition": parts},
        credit="CelebA (Liu et al. 2015)",
    )


def _rows(store: Store, name: str) -> list[list[str]]:
    """A text table's rows as words, comments left out."""
    lines = store.text(store.find(name) or name).splitlines()
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]


def load_att(store: Store, *, size: int | None = None) -> ImageSet:
    """AT&T (ORL): 400 gray images 112x92 of 40 people, ten each; else Olivetti, scikit-learn's cut of them."""
    if store.path.name == OLIVETTI:
        return load_olivetti(store, size=size)
    files = image_files(store)
    keys = [person(name) for name in files]
    return from_files("att", ImageFiles(store, files, mode="L", size=size), keys, credit="AT&T Laboratories Cambridge")


def load_olivetti(store: Store, *, size: int | None = None) -> ImageSet:
    """Olivetti through scikit-learn: 400 gray images 64x64 of 40 people, the AT&T faces in scikit-learn's cut.

    Another `size` interpolates.
    """
    from sklearn.datasets import fetch_olivetti_faces

    bunch = fetch_olivetti_faces(data_home=str(store.path.parent), download_if_missing=False)
    array = torch.from_numpy(np.rint(bunch.images * 255).astype(np.uint8)).unsqueeze(1)
    if size and size != array.shape[-1]:
        array = interpolate(array.float(), size, mode="bilinear").round().byte()
    keys = [f"{label + 1}" for label in bunch.target]
    return from_array("olivetti", f"data root: {store.label}", array, keys, credit="AT&T Cambridge")


def fetch_olivetti(root: Path) -> None:
    """Olivetti as scikit-learn publishes it (4 MB), checked and packed by scikit-learn itself."""
    from sklearn.datasets import fetch_olivetti_faces

    with tempfile.TemporaryDirectory(dir=root, prefix=".olivetti-") as scratch:
        fetch_olivetti_faces(data_home=scratch)
        Path(scratch, OLIVETTI).replace(root / OLIVETTI)


def from_array(name: str, source: str, array: torch.Tensor, keys: list[str], **rest: object) -> ImageSet:
    """An ImageSet over images in memory, uint8 (n, C, H, W), named by their position."""
    labels, classes = numbered(keys)
    return ImageSet(
        name=name,
        source=source,
        labels=labels,
        classes=classes,
        names=[f"{at:05d}" for at in range(len(array))],
        read=partial(read_array, array=array),
        fingerprint=hashlib.sha256(array.numpy().tobytes()).hexdigest()[:16],
        **rest,
    )
