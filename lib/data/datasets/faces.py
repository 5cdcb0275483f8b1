"""Face sets with people as labels: LFW, CFP, the CelebA part, AT&T, Olivetti."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib.data.alignment import TEMPLATE, similarity
from lib.data.pairs import cfp_pairs, lfw_pairs
from lib.data.readers.archives import Store, open_store
from lib.data.readers.decode import from_files, image_files, numbered, read_array
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

LFW_CREDIT = "Labeled Faces in the Wild (Huang et al. 2007)"
# Mean eyes, nose and mouth corners of LFW's 250x250 pictures, rounded to half a pixel: with no landmarks of its own,
# every funneled picture gets the one crop that brings these five points to the template.
LFW_POINTS = np.array([[104.5, 112], [145, 112], [125, 136.5], [107.5, 156], [142.5, 156]])
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

    Aligned images are taken as they are; a folder `lfw_funneled` gets one fixed crop to the 112x112 template.
    """
    files = image_files(store)
    stems = [file.split("/")[-1].rsplit(".", 1)[0] for file in files]
    matrix = similarity(LFW_POINTS, TEMPLATE * size / 112) if store.path.name == "lfw_funneled" else None
    lists = [store.path.parent / file for file in ("lfw_pairs.txt", "pairs.txt")]
    found = next((path for path in lists if path.is_file()), None)
    text = found.read_text(errors="replace") if found else ""
    return from_files(
        name,
        store,
        files,
        [stem.rsplit("_", 1)[0] for stem in stems],
        size=size,
        matrices=None if matrix is None else [matrix] * len(files),
        source=source,
        salt=text,
        pairs={"view2": lfw_pairs(text, {stem: at for at, stem in enumerate(stems)}, found.name)} if found else {},
        credit=credit,
    )


def download_lfw(*, size: int = 112) -> ImageSet:
    """LFW as scikit-learn hosts it (funneled, 250x250, about 230 MB), cropped the same way for every picture.

    scikit-learn fetches and unpacks; the pictures are then read one by one, since all of them as floats fill 10 GB.
    """
    from sklearn.datasets import fetch_lfw_people, get_data_home

    pixel = (slice(0, 1), slice(0, 1))
    fetch_lfw_people(funneled=True, color=True, resize=None, slice_=pixel, min_faces_per_person=500)
    store = open_store(Path(get_data_home()) / "lfw_home" / "lfw_funneled")
    return load_lfw(store, size=size, source="download: scikit-learn")


def load_cfp(store: Store, *, size: int = 112) -> ImageSet:
    """CFP: 500 people, 10 frontal and 4 profile RGB images each; `pairs['FF']` and `pairs['FP']`, ten folds each.

    `attributes['pose']` is 0 for frontal and 1 for profile.
    """
    files = image_files(store)
    place = {"/".join(name.split("/")[-3:]): at for at, name in enumerate(files)}
    return from_files(
        "cfp",
        store,
        files,
        [name.split("/")[-3] for name in files],
        size=size,
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
        store,
        files,
        [person(name) for name in files],
        size=size,
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
    """AT&T (ORL): 400 gray images 112x92 of 40 people, ten each."""
    files = image_files(store)
    keys = [person(name) for name in files]
    return from_files("att", store, files, keys, mode="L", size=size, credit="AT&T Laboratories Cambridge")


def olivetti(home: str | None, download: bool, source: str) -> ImageSet:
    """Olivetti through scikit-learn: 400 gray images 64x64 of 40 people, the AT&T faces in scikit-learn's cut."""
    from sklearn.datasets import fetch_olivetti_faces

    bunch = fetch_olivetti_faces(data_home=home, download_if_missing=download)
    array = torch.from_numpy(np.rint(bunch.images * 255).astype(np.uint8)).unsqueeze(1)
    return from_array("olivetti", source, array, [f"{label + 1}" for label in bunch.target], credit="AT&T Cambridge")


def load_olivetti(store: Store) -> ImageSet:
    """Olivetti from scikit-learn's own file in the data root."""
    return olivetti(str(store.path.parent), False, f"data root: {store.label}")


def download_olivetti() -> ImageSet:
    """Olivetti as scikit-learn hosts it (4 MB)."""
    return olivetti(None, True, "download: scikit-learn")


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
