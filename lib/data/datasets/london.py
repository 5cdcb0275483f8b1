"""The Face Research Lab London Set: the only photographs that the book's figures show."""

from functools import lru_cache

import numpy as np
import torch

from lib.data.alignment import TEMPLATE, similarity
from lib.data.readers.archives import Store
from lib.data.readers.decode import ImageFiles, from_files, image_files
from lib.data.registration import register
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

CREDIT = "Face Research Lab London Set (DeBruine and Jones 2017), CC BY 4.0, doi:10.6084/m9.figshare.5047666"
# pixels a side: of our pictures, and of those the landmarks were set on
RAW = 448
ORIGINAL = 1350
# The five template points among the 189 landmarks: pupils, nose (mean of its two ridge ends and its base), mouth.
FIVE = ([0], [1], [54, 55, 60], [87], [93])


MARGIN = 24  # pixels around the 112x112 template in which a smiling head is looked for
BOX = (54, 104, 44, 116)  # eyes and bridge of the nose in that frame: what a smile moves least


def load_london(store: Store, *, size: int = RAW) -> ImageSet:
    """102 people, one neutral and one smiling RGB picture each; `attributes['smiling']` is 0 or 1.

    `size=448` gives the pictures as they are; any smaller size gives faces aligned to the ArcFace template at that
    size (112 for recognisers), by the landmarks of the neutral picture. The smiling picture has none and the head has
    moved by then (10 pixels on average), so its eye region is registered to the neutral one.
    """
    if not 16 <= size <= RAW:
        raise WorkbookError(
            f"The London set comes raw (size=448) or aligned (size=16 to 447, 112 for recognisers), not {size}."
        )
    files = image_files(store)
    aligned = None if size == RAW else [_transforms(store)[name] * size / 112 for name in files]
    return from_files(
        "london",
        ImageFiles(store, files, size=size, matrices=aligned),
        [_person(name) for name in files],
        attributes={"smiling": torch.tensor(["smiling" in name for name in files]).long()},
        credit=CREDIT,
        shown=True,
    )


def _person(name: str) -> str:
    return name.split("/")[-1].split("_")[0]


@lru_cache(maxsize=2)
def _transforms(store: Store) -> dict[str, np.ndarray]:
    """For every picture, the similarity (2, 3) from its pixels to the 112x112 template."""
    files = image_files(store)
    landmarks = {_person(name): name for name in store.names if name.endswith(".tem")}
    neutral = {_person(name): name for name in files if "smiling" not in name}
    smiling = {_person(name): name for name in files if "smiling" in name}
    people = sorted(neutral)
    if not people == sorted(landmarks) == sorted(smiling):
        raise WorkbookError(f"{store.label} lacks a picture or the landmarks of some people: fetch the archive again.")
    start = {who: _by_landmarks(store, landmarks[who]) for who in people}
    frames = [
        _frames(store, [some[who] for who in people], [start[who] for who in people]) for some in (neutral, smiling)
    ]
    moves = register(*frames, BOX)
    after = {who: _undo(move) for who, move in zip(people, moves, strict=True)}
    follow = {smiling[who]: (after[who] @ np.vstack([start[who], [0, 0, 1]]))[:2] for who in people}
    return {neutral[who]: start[who] for who in people} | follow


def _undo(move: np.ndarray) -> np.ndarray:
    """From moved to template pixels (3, 3), for a registration (2, 3) found in the frame with a margin."""
    margin = np.array([[1, 0, MARGIN], [0, 1, MARGIN], [0, 0, 1.0]])
    return np.linalg.inv(margin) @ np.linalg.inv(np.vstack([move, [0, 0, 1]])) @ margin


def _frames(store: Store, files: list[str], matrices: list[np.ndarray]) -> torch.Tensor:
    """Gray pictures (n, 1, S, S) around the template, with the margin on every side, in [0, 1]."""
    wider = [matrix + np.array([[0, 0, MARGIN], [0, 0, MARGIN]]) for matrix in matrices]
    return ImageFiles(store, files, "L", 112 + 2 * MARGIN, wider).read(range(len(files))).float() / 255


def _by_landmarks(store: Store, name: str) -> np.ndarray:
    points = read_landmarks(store.text(name), f"{name} in {store.label}") * RAW / ORIGINAL
    return similarity(np.stack([points[group].mean(0) for group in FIVE]), TEMPLATE)


def read_landmarks(text: str, label: str) -> np.ndarray:
    """The points (189, 2) of a .tem file, x and y in pixels of the 1350x1350 original."""
    lines = text.splitlines()
    try:
        points = np.array([[float(word) for word in line.split()] for line in lines[1 : int(lines[0]) + 1]])
    except (ValueError, IndexError):
        points = np.empty(0)
    if points.shape != (189, 2):
        raise WorkbookError(f"{label} does not hold 189 landmarks: fetch the archive again.")
    return points
