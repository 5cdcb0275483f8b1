"""Labelled pictures in three parts: to learn from, to choose on, and to test on."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.data.datasets.expression_classes import EXPRESSIONS, expressions_of
from lib.data.parts import deal_people
from lib.data.sets import ImageSet
from lib.errors import WorkbookError, choices
from lib.training.batches import resize_uint8

PARTS = ("learn", "held", "test")


@dataclass(frozen=True, eq=False)
class Labelled:
    """Parts by name ("learn", "held", "test") of images (n, 3, side, side) uint8 and labels (n,)."""

    images: dict[str, Tensor]
    labels: dict[str, LongTensor]
    classes: tuple[str, ...]

    def part(self, name: str, most: int | None = None) -> tuple[Tensor, LongTensor]:
        """Up to `most` images in [0,1] of a part, and their labels."""
        if name not in self.images:
            raise WorkbookError(f"The parts are {choices(list(self.images))}, not '{name}': choose one.")
        return self.images[name][:most].float() / 255, self.labels[name][:most]

    def of_classes(self, count: int) -> "Labelled":
        """The pictures of the first `count` classes alone."""
        if not 2 <= count <= len(self.classes):
            raise WorkbookError(f"A part holds 2 to {len(self.classes)} classes, not {count}: choose so many.")
        kept = {name: labels < count for name, labels in self.labels.items()}
        images = {name: self.images[name][rows] for name, rows in kept.items()}
        return Labelled(images, {name: self.labels[name][rows] for name, rows in kept.items()}, self.classes[:count])


def drawn(index: LongTensor, most: int) -> LongTensor:
    """Up to `most` of the positions, always the same random ones."""
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))
    return index[order[:most]]


def coloured(images: ImageSet, index: LongTensor, side: int) -> Tensor:
    """Pictures as uint8 (k, 3, side, side); gray ones three times."""
    found = resize_uint8(images, index, side)
    return found.expand(-1, 3, -1, -1).contiguous() if found.shape[1] == 1 else found


def labelled(
    images: ImageSet, parts: Mapping[str, LongTensor], labels: LongTensor, side: int, classes: tuple[str, ...] = ()
) -> Labelled:
    """The pictures of each part, with labels (n,) of the whole set."""
    pixels = {name: coloured(images, parts[name], side) for name in PARTS}
    return Labelled(pixels, {name: labels[parts[name]] for name in PARTS}, classes or tuple(images.classes))


def expression_parts(images: ImageSet, most: Mapping[str, int], side: int) -> Labelled:
    """Up to `most` pictures of each part by expression: FER2013's official parts, where the set has them.

    Elsewhere "held" is cut from the training part, and where labels are people, no person stands in two parts.
    """
    classes = expressions_of(images)
    splits = images.splits
    if "public_test" in splits:
        parts = {"learn": splits["train"], "held": splits["public_test"], "test": splits["private_test"]}
    elif "expression" in images.attributes:  # the labels are people
        parts = deal_people(images.labels, splits["train"], {"held": most["held"], "learn": -1})
    else:
        mixed = drawn(splits["train"], len(splits["train"]))
        parts = {"held": mixed[: most["held"]], "learn": mixed[most["held"] :]}
    parts = {"test": splits.get("test", splits.get("val"))} | parts
    known = {name: index[classes[index] >= 0] for name, index in parts.items()}
    chosen = {name: drawn(known[name], most[name]) for name in PARTS}
    return labelled(images, chosen, classes, side, EXPRESSIONS)
