"""The embedded default: rendered faces that need no data and no network, with exact labels for every factor."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lib.data.pairs import make_pairs
from lib.data.procedural_faces.parameters import ACTION_UNITS, EXPRESSIONS, FaceParameters
from lib.data.procedural_faces.render import CHUNK, VERSION, render
from lib.data.procedural_faces.sampling import sample_faces
from lib.data.sets import ImageSet, Pairs
from lib.errors import WorkbookError

__all__ = ["ACTION_UNITS", "EXPRESSIONS", "FaceParameters", "load_procedural", "render", "sample_faces"]

SOURCE = "embedded: procedural faces"
CREDIT = "Procedural faces rendered by this workbook; they show nobody."
LABELS = ("expression", "action_units", "pose", "light", "hair", "skin", "identity")
TEST_PAIRS = 600  # half genuine, half impostor; fewer when the set is too small


def load_procedural(people: int = 100, per_person: int = 10, seed: int = 0, size: int = 112) -> ImageSet:
    """Faces of `people` invented persons, `per_person` pictures each, drawn when read; `size` in pixels.

    One person in five (at least two) is kept for split and pairs "test", all others are in split "train". Attributes:
    expression (n,), action_units (n, 15), pose (n, 3), light (n, 5), hair (n, 5), skin (n, 2), identity (n, 33); see
    `face_parameters` for columns and ranges. Raises WorkbookError for under 4 people, 2 pictures each or 16 pixels.
    """
    _check(people=people, per_person=per_person, seed=seed, size=size)
    labels = torch.arange(people).repeat_interleave(per_person)
    faces = sample_faces(labels, seed)
    held_out = labels >= people - max(2, people // 5)
    test = held_out.nonzero().flatten()
    key = f"procedural version {VERSION}: people {people}, per_person {per_person}, seed {seed}, size {size}"
    return ImageSet(
        name="procedural",
        source=SOURCE,
        labels=labels,
        classes=[f"person {person:04d}" for person in range(people)],
        names=[f"person_{label:04d}_{at % per_person:03d}" for at, label in enumerate(labels.tolist())],
        read=lambda positions: _pixels(faces, positions, size),
        fingerprint=hashlib.sha256(key.encode()).hexdigest(),
        splits={"train": (~held_out).nonzero().flatten(), "test": test},
        pairs={"test": _test_pairs(labels, test, per_person, seed)},
        attributes={name: getattr(faces, name) for name in LABELS},
        credit=CREDIT,
        shown=True,
    )


def _check(**given: int) -> None:
    least = {"people": 4, "per_person": 2, "seed": 0, "size": 16}
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least[name]:
            raise WorkbookError(
                f"Procedural faces take a whole number of at least {least[name]} as {name}; got {value!r}."
            )
    if given["size"] > 512:
        raise WorkbookError(
            f"Procedural faces are drawn at up to 512 pixels; got size {given['size']}, so ask for less."
        )


def _pixels(faces: FaceParameters, positions: Sequence[int], size: int) -> Tensor:
    """The pictures at `positions` as uint8 (k, 3, size, size), a chunk at a time so that memory stays small."""
    at = torch.as_tensor(positions, dtype=torch.int64)
    chunks = (render(faces.take(part), size).mul_(255).round_().byte() for part in at.split(CHUNK))
    return torch.cat(list(chunks))


def _test_pairs(labels: Tensor, test: Tensor, per_person: int, seed: int) -> Pairs:
    genuine = len(labels[test].unique()) * per_person * (per_person - 1) // 2
    half = min(TEST_PAIRS // 2, genuine)
    pairs = make_pairs(labels[test], half, half, seed)
    return replace(pairs, first=test[pairs.first], second=test[pairs.second])
