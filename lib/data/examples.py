"""What is attacked and judged: images with labels, or pairs of images of the same or of two people."""

from dataclasses import dataclass

from torch import LongTensor, Tensor

from lib.errors import WorkbookError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images x (n, C, H, W) in [0,1] and their labels (n,), counted from 0."""

    x: Tensor
    labels: LongTensor

    def __post_init__(self) -> None:
        """Refuse parts of different lengths."""
        _check_lengths(images=self.x, labels=self.labels)

    def __len__(self) -> int:
        """Images."""
        return len(self.x)

    def rows(self, index: slice | Tensor) -> "LabelledImages":
        """The images `index`."""
        return LabelledImages(self.x[index], self.labels[index])


@dataclass(frozen=True, eq=False)
class ImagePairs:
    """Verification pairs: first images x and second images y (P, C, H, W) in [0,1]; same (P,) bool, one person or two.

    An attack moves x; y is the enrolled image.
    """

    x: Tensor
    y: Tensor
    same: Tensor

    def __post_init__(self) -> None:
        """Refuse parts of different lengths."""
        _check_lengths(first=self.x, second=self.y, same=self.same)

    def __len__(self) -> int:
        """Pairs."""
        return len(self.x)

    def rows(self, index: slice | Tensor) -> "ImagePairs":
        """The pairs `index`."""
        return ImagePairs(self.x[index], self.y[index], self.same[index])


Examples = LabelledImages | ImagePairs


def _check_lengths(**parts: Tensor) -> None:
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) > 1:
        given = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise WorkbookError(f"Examples need as many of each part, but {given} came: cut them alike.")
