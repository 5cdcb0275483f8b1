"""The door for one's own faces: any folder (or zip) of images as a set."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lib.data.detection import SHA256
from lib.data.photos import CHOICES, FoundFaces, find_in_store, read_picture, write_aligned
from lib.data.readers.archives import Store, digest, open_store
from lib.data.readers.decode import ImageFiles, from_files, image_files
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

SIDE = 112  # pixels a side of an aligned face, and of pictures that are taken for one
LAYOUT = "person/file.jpg or person_1.jpg"


def folder(
    path: str | Path,
    *,
    size: int | None = SIDE,
    gray: bool = False,
    shown: bool = False,
    align: bool = False,
    choose: str = CHOICES[0],
) -> ImageSet:
    """A folder or zip of images as a set whose labels are people.

    Laid out as `person/file.jpg`, or flat as `anna_1.jpg anna_2.jpg bert_1.jpg`, where the name without its number is
    the person. Pictures are turned upright, scaled and centre-cropped to `size` x `size` (None: left as they are, then
    all must have one size) and come as RGB, or gray with one channel. Set `shown` where these people agreed to be drawn
    in figures.

    Recognisers expect an aligned face that fills the crop. For photographs as they come from a camera say `align`: the
    face is found in each and brought to the template. choose: "largest" face of a picture, or the one nearest its
    "centre". Pictures without a face are left out and named in `left_out`.
    """
    store, files = _pictures(path)
    mode = "L" if gray else "RGB"
    if not align:
        return _set(ImageFiles(store, files, mode, size), source=f"folder: {store.label}", shown=shown)
    if size is None:
        raise WorkbookError("Aligned faces need a size, but size=None came: give a number of pixels, such as 112.")
    found = find_in_store(store, files, choose)
    return _set(
        ImageFiles(store, found.files, mode, size, found.matrices(size)),
        source=f"folder: {store.label} (aligned here{_left_out(found)})",
        salt=f"{choose} {SHA256}",
        shown=shown,
        left_out=tuple(found.without_face),
    )


def own_faces(path: str | Path) -> ImageSet:
    """One's own faces for a verification page: crops of 112x112 pixels as they are, any other pictures aligned.

    Raises WorkbookError where there are not two people with two pictures each: pairs could not be drawn.
    """
    store, files = _pictures(path)
    crops = all(read_picture(store, name).size == (SIDE, SIDE) for name in files)
    _check_people(path, files)
    images = folder(path, align=not crops)
    if images.left_out:
        _check_people(path, images.names)
    return images


def with_others(own: ImageSet, others: ImageSet) -> ImageSet:
    """One's own faces, and after them those of a set of other people, to fit on: `splits` own and others.

    No pair is drawn from the others. Both sets need one size of image.
    """
    labels = torch.cat([own.labels, others.labels + len(own.classes)])
    return ImageSet(
        name=own.name,
        source=f"{own.source}; other people to fit on: {others.source}",
        labels=labels,
        classes=[*own.classes, *(f"other: {who}" for who in others.classes)],
        names=[*own.names, *(f"other: {name}" for name in others.names)],
        read=partial(_read_both, own=own, others=others),
        fingerprint=digest([own.fingerprint, others.fingerprint]),
        splits={"own": torch.arange(len(own)), "others": torch.arange(len(own), len(labels))},
        credit=others.credit,
        left_out=own.left_out,
    )


def _read_both(index: Sequence[int], own: ImageSet, others: ImageSet) -> Tensor:
    at = torch.as_tensor(index)
    sides = ((at < len(own), own, 0), (at >= len(own), others, len(own)))
    parts = [(side, images.read((at[side] - start).tolist())) for side, images, start in sides if side.any()]
    out = parts[0][1].new_empty(len(at), *parts[0][1].shape[1:])
    for side, pixels in parts:
        out[side] = pixels
    return out


def align_folder(path: str | Path, out: str | Path, choose: str = CHOICES[0]) -> FoundFaces:
    """Write the face of every picture of a folder, aligned, as `out/person/picture.png`; see `folder`."""
    store, files = _pictures(path)
    target = Path(out).expanduser()
    if target.resolve().is_relative_to(store.path.resolve()):
        raise WorkbookError(f"{out} lies inside {path}: give another folder, so that no photograph is overwritten.")
    return write_aligned(store, {name: _person(name) for name in files}, target, choose)


def _pictures(path: str | Path) -> tuple[Store, list[str]]:
    place = Path(path).expanduser()
    if not place.exists():
        raise WorkbookError(f"There is no folder {path}: give one that holds images, as {LAYOUT}.")
    store = open_store(place)
    files = image_files(store)
    if not files:
        raise WorkbookError(f"The folder {path} holds no image (jpg, png, bmp, pgm, ppm, webp or tif): give another.")
    return store, files


def _set(files: ImageFiles, **settings: object) -> ImageSet:
    return from_files(files.store.path.name, files, [_person(name) for name in files.names], **settings)


def _left_out(found: FoundFaces) -> str:
    count = len(found.without_face)
    return f"; {count} without a face left out" if count else ""


def _check_people(path: str | Path, files: list[str]) -> None:
    """Refuse files that hold fewer than two people with two pictures each."""
    people = [_person(name) for name in files]
    several = sum(people.count(person) > 1 for person in set(people))
    if several > 1:
        return
    if not any("/" in name for name in files):
        raise WorkbookError(
            f"The folder {path} holds no folder per person, and its {len(files)} files name {several} people with two "
            f"pictures: lay the pictures out as {LAYOUT}."
        )
    raise WorkbookError(
        f"Verification needs at least two people with two pictures each, but {path} holds {several} such people among "
        f"{len(set(people))}: add pictures, or lay them out as {LAYOUT}."
    )


def _person(name: str) -> str:
    """The folder a file lies in, or its name without the trailing number."""
    if "/" in name:
        return name.split("/")[-2]
    stem = name.rsplit(".", 1)[0]
    return re.sub(r"[\W_]*\d+$", "", stem) or stem
