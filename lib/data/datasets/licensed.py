"""Loaders for licensed face sets in the layouts that their owners publish. The book holds none of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib.data.alignment import TEMPLATE, similarity
from lib.data.datasets.faces import PARTITIONS, load_celeba_sub, load_lfw
from lib.data.download import check_and_place, unpack
from lib.data.pairs import FOLDS, pairs_of
from lib.data.readers.archives import Store
from lib.data.readers.decode import ImageFiles, from_files, image_files, numbered
from lib.data.sets import ImageSet, Pairs
from lib.errors import WorkbookError

# Mean eyes, nose and mouth corners of CelebA's aligned 178x218 pictures, rounded to half a pixel.
CELEBA_POINTS = [[69.5, 111], [107.5, 111], [88, 135], [72, 152], [105, 152]]
CELEBA_PART = Path(__file__).with_name("celeba_part.txt")
CELEBA_FILES = (
    "img_align_celeba.zip",
    "identity_CelebA.txt",
    "list_eval_partition.txt",
    "list_landmarks_align_celeba.txt",
)
RAF_EXPRESSIONS = ["surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"]  # labels 1 to 7


@dataclass(frozen=True)
class People:
    """A set with a folder per person: how deep that folder lies, and which files to leave out."""

    part: int  # the path part that names the person: 0 is the first below `below`, -2 the file's own folder
    below: str = ""  # the folder that holds the people, where the layout has one
    track: bool = False  # whether the folders below a person are video tracks: `attributes['track']` numbers them
    credit: str = ""


PEOPLE = {
    "facescrub": People(-2, "facescrub_images", credit="FaceScrub (Ng and Winkler 2014)"),
    "megaface": People(-2, "FlickrFinal2", credit="MegaFace (Kemelmacher-Shlizerman et al. 2016)"),
    "casia_webface": People(-2, "CASIA-WebFace", credit="CASIA-WebFace (Yi et al. 2014)"),
    "voxceleb": People(0, "unzippedFaces", track=True, credit="VoxCeleb (Nagrani et al. 2017)"),
}

load_talfw = partial(load_lfw, name="talfw", credit="TALFW (Zhong and Deng 2020)")


def load_people(store: Store, *, name: str, size: int | None = 112) -> ImageSet:
    """A set of `PEOPLE`: labels are people. Pictures are scaled and centre-cropped to `size` (None: as they are)."""
    layout = PEOPLE[name]
    files = image_files(store)
    inside = f"{layout.below}/"
    paths = [file.split(inside, 1)[-1].split("/") for file in files]
    if any(len(path) < 2 for path in paths):
        raise WorkbookError(f"{store.label} is expected to hold a folder per person with images in it: check it.")
    tracks = {"track": numbered(["/".join(path[:-1]) for path in paths])[0]} if layout.track else {}
    keys = [path[layout.part] for path in paths]
    return from_files(name, ImageFiles(store, files, size=size), keys, attributes=tracks, credit=layout.credit)


def load_celeba(store: Store, *, size: int | None = None, source: str | None = None) -> ImageSet:
    """CelebA: 202 599 aligned RGB images 178x218 (wide x high) of 10 177 people; `splits` train, val, test.

    Needs img_align_celeba/, identity_CelebA.txt and list_eval_partition.txt. With a `size`, the eyes, nose and mouth,
    which lie at the same place in every picture, are brought to the ArcFace template.
    """
    identity, partition = (_table(store, name) for name in ("identity_CelebA.txt", "list_eval_partition.txt"))
    files = [name for name in image_files(store) if "/img_align_celeba/" in f"/{name}"]
    ends = [name.split("/")[-1] for name in files]
    parts = torch.tensor(_look_up(store, partition, ends))
    matrices = [similarity(CELEBA_POINTS, TEMPLATE * size / 112)] * len(files) if size else None
    return from_files(
        "celeba",
        ImageFiles(store, files, size=size, matrices=matrices),
        [str(who) for who in _look_up(store, identity, ends)],
        source=source,
        splits={part: (parts == at).nonzero().flatten() for at, part in enumerate(PARTITIONS) if at in parts},
        attributes={"partition": parts},
        credit="CelebA (Liu et al. 2015)",
    )


def load_celeba_part(store: Store, *, size: int = 112, suspect: bool = False) -> ImageSet:
    """The part of CelebA that the book learns and tests on: 6 272 images of 299 people, aligned by CelebA's own points.

    `CELEBA_PART` names the images, a minus sign the 146 doubtful ones, left out unless `suspect`. Reads a folder as
    torchvision lays it out; `splits` follow the official partition. A folder or zip of prepared crops is read by
    `load_celeba_sub`.
    """
    if not store.find("identity_CelebA.txt"):
        return load_celeba_sub(store, size=size, suspect=suspect)
    listed = [int(word) for word in CELEBA_PART.read_text().split()]
    names = [f"{abs(number):06d}.jpg" for number in listed if number > 0 or suspect]
    places = {name.split("/")[-1]: name for name in image_files(store) if "/img_align_celeba/" in f"/{name}"}
    lost = [name for name in names if name not in places]
    if lost:
        raise WorkbookError(f"{store.label} lacks {len(lost)} images, such as {lost[0]}: fetch CelebA again.")
    parts = torch.tensor(_look_up(store, _table(store, "list_eval_partition.txt"), names))
    return from_files(
        "celeba_sub",
        ImageFiles(
            store,
            [places[name] for name in names],
            size=size,
            matrices=[similarity(points, TEMPLATE * size / 112) for points in _celeba_points(store, names)],
        ),
        [f"{who:05d}" for who in _look_up(store, _table(store, "identity_CelebA.txt"), names)],
        salt=str(suspect),
        splits={part: (parts == at).nonzero().flatten() for at, part in enumerate(PARTITIONS) if at in parts},
        attributes={"partition": parts},
        credit="CelebA (Liu et al. 2015)",
    )


def _celeba_points(store: Store, names: list[str]) -> list[np.ndarray]:
    """Eyes, nose and mouth corners (5, 2) of each image in pixels; the mean ones where CelebA's list is not there."""
    listed = store.find("list_landmarks_align_celeba.txt")
    if not listed:
        return [np.array(CELEBA_POINTS)] * len(names)
    rows = {words[0]: words[1:] for line in store.text(listed).splitlines() if len(words := line.split()) == 11}
    try:
        return [np.array(rows[name], dtype=float).reshape(5, 2) for name in names]
    except (KeyError, ValueError):
        raise WorkbookError(f"{listed} in {store.label} does not list all images: fetch it again.") from None


def fetch_celeba(root: Path) -> None:
    """CelebA as torchvision names it (1.4 GB, from a drive that limits downloads a day), as the folder `celeba`.

    Each file is checked by the MD5 that torchvision publishes; a transfer that broke off is resumed.
    """
    import gdown
    import torchvision

    folder = root / ".celeba-arriving"  # it gets its name when it is whole
    images = folder / "img_align_celeba"
    folder.mkdir(exist_ok=True)
    for drive_id, md5, name in torchvision.datasets.CelebA.file_list:
        target = folder / name
        if name not in CELEBA_FILES or target.exists() or (name == CELEBA_FILES[0] and images.exists()):
            continue
        part = target.with_name(f"{name}.part")
        gdown.download(id=drive_id, output=str(part), resume=True)
        check_and_place(part, target, md5)
    if not images.exists():
        unpack(folder / CELEBA_FILES[0], images, images.name)
    folder.replace(root / "celeba")


def _table(store: Store, name: str) -> dict[str, int]:
    """A text file of `<image> <integer>` lines."""
    try:
        lines = (line.rsplit(maxsplit=1) for line in store.text(store.find(name) or name).splitlines() if line.strip())
        return {image: int(value) for image, value in lines}
    except ValueError:
        raise WorkbookError(f"{name} in {store.label} is not a list of images and numbers: fetch it again.") from None


def _look_up(store: Store, table: dict[str, int], names: Iterable[str]) -> list[int]:
    try:
        return [table[name] for name in names]
    except KeyError as error:
        raise WorkbookError(f"{error.args[0]} in {store.label} is in no label file: fetch the labels again.") from None


def load_raf_db(store: Store, *, size: int | None = None) -> ImageSet:
    """RAF-DB, basic part: RGB 100x100, seven expressions; `splits` train (12 271) and test (3 068).

    Needs Image/aligned/<split>_<number>_aligned.jpg and EmoLabel/list_patition_label.txt, misspelt as its owners do.
    """
    table = _table(store, "list_patition_label.txt")
    files = [name for name in image_files(store) if name.endswith("_aligned.jpg")]
    ends = [name.split("/")[-1] for name in files]
    labels = _look_up(store, table, [end.replace("_aligned", "") for end in ends])
    if set(labels) - set(range(1, 8)):
        raise WorkbookError(f"list_patition_label.txt in {store.label} has labels other than 1 to 7: fetch it again.")
    parts = [end.split("_")[0] for end in ends]
    return from_files(
        "raf_db",
        ImageFiles(store, files, size=size),
        [RAF_EXPRESSIONS[label - 1] for label in labels],
        classes=RAF_EXPRESSIONS,
        splits={
            part: torch.tensor([at for at, p in enumerate(parts) if p == part]) for part in sorted(set(parts))[::-1]
        },
        credit="RAF-DB (Li, Deng and Du 2017)",
    )


def load_cplfw(store: Store, *, size: int = 112) -> ImageSet:
    """CPLFW: 11 652 RGB images of 3 930 people; `pairs['official']`: 3000 genuine and 3000 impostor pairs, ten folds.

    Needs 'aligned images/<Name>_<k>.jpg' (or images/) and pairs_CPLFW.txt, with two lines `<image> <label>` a pair.
    """
    files = image_files(store)
    files = [name for name in files if "/aligned images/" in f"/{name}"] or files
    ends = [name.split("/")[-1] for name in files]
    lines = store.text(store.find("pairs_CPLFW.txt") or "pairs_CPLFW.txt").split("\n")
    pairs = _cplfw_pairs(
        store, [line.split() for line in lines if line.strip()], {end: at for at, end in enumerate(ends)}
    )
    return from_files(
        "cplfw",
        ImageFiles(store, files, size=size),
        [end.rsplit("_", 1)[0] for end in ends],
        pairs={"official": pairs},
        credit="CPLFW (Zheng and Deng 2018)",
    )


def _cplfw_pairs(store: Store, lines: list[list[str]], place: dict[str, int]) -> Pairs:
    """Genuine pairs are labelled 1, impostor pairs 0 or -1; folds follow the position within each kind."""
    try:
        same = [int(label) > 0 for _, label in lines[::2]]
        ends = [[place[end] for end, _ in lines[start::2]] for start in (0, 1)]
    except (KeyError, ValueError):
        raise WorkbookError(f"pairs_CPLFW.txt in {store.label} does not match its images: fetch both again.") from None
    if len(ends[0]) != len(ends[1]):
        raise WorkbookError(f"pairs_CPLFW.txt in {store.label} ends within a pair: fetch it again.")
    seen = {True: 0, False: 0}
    rows = []
    for first, second, kind in zip(*ends, same, strict=True):
        rows.append((first, second, kind, seen[kind] * FOLDS // same.count(kind)))
        seen[kind] += 1
    return pairs_of(rows)
