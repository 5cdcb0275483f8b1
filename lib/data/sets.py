"""The two things that every data set is made of: images with labels, and verification pairs over them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import BoolTensor, LongTensor, Tensor

from lib.errors import WorkbookError
from lib.progress import progress as shown

CHUNK = 256  # images decoded at once


@dataclass(frozen=True, eq=False)
class Pairs:
    """Verification pairs over the images of a set; every field has shape (P,).

    `first` and `second` index images, `same` says genuine (True) or impostor (False), `fold` numbers the cross
    validation part, from 0.
    """

    first: LongTensor
    second: LongTensor
    same: BoolTensor
    fold: LongTensor

    def __len__(self) -> int:
        return len(self.first)

    def take(self, index: Sequence[int] | Tensor | slice) -> "Pairs":
        """The pairs at `index` (positions, a slice or a boolean mask), in that order."""
        at = index if isinstance(index, slice | Tensor) else torch.as_tensor(list(index), dtype=torch.long)
        return Pairs(self.first[at], self.second[at], self.same[at], self.fold[at])

    def thin(self, n: int) -> "Pairs":
        """`n / 2` genuine and `n / 2` impostor pairs, evenly spaced in the list, in its order and with its folds.

        Of LFW's 6000 pairs, `thin(400)` is every 15th pair of each kind.
        """
        half = n // 2
        kinds = [self.same.nonzero().flatten(), (~self.same).nonzero().flatten()]
        most = 2 * min(len(kind) for kind in kinds)
        if n < 2 or n % 2 or n > most:
            raise WorkbookError(f"thin() takes an even number from 2 to {most} for these pairs, not {n}.")
        kept = [kind[torch.arange(half) * len(kind) // half] for kind in kinds]
        return self.take(torch.cat(kept).sort().values)


@dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """A named set of n images, decoded only when asked for.

    `labels` (n,) index `classes`; `names` are file names relative to the data root, or ids. `read` takes positions
    and gives uint8 (k, C, H, W). `fingerprint` changes when the data does. `splits` map names to positions, `pairs`
    names to verification protocols, `attributes` names to tensors whose first axis is n. `shown` says whether these
    images may be drawn in a figure, with `credit` in its caption. `left_out` names pictures that show no face.
    """

    name: str
    source: str
    labels: LongTensor
    classes: list[str]
    names: list[str]
    read: Callable[[Sequence[int]], Tensor]
    fingerprint: str
    splits: dict[str, LongTensor] = field(default_factory=dict)
    pairs: dict[str, Pairs] = field(default_factory=dict)
    attributes: dict[str, Tensor] = field(default_factory=dict)
    credit: str = ""
    shown: bool = False
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.names)
        if not n:
            raise WorkbookError(f"The set '{self.name}' ({self.source}) holds no image: check that folder or archive.")
        wrong = [key for key, value in self.attributes.items() if len(value) != n]
        if len(self.labels) != n or wrong:
            raise WorkbookError(f"The set '{self.name}' has {n} images but other numbers of {wrong or 'labels'}.")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:  # no tensors, and no folder of this machine
        return f"{self.name}: {len(self)} images, {len(self.classes)} classes ({self.source})"

    def images(self, index: Sequence[int] | Tensor | None = None, progress: bool = False) -> Tensor:
        """The images at `index` (default: all) as float32 (k, C, H, W) in [0, 1].

        `index` holds positions or is a boolean mask (n,). `progress` shows a bar when decoding takes
        more than a moment. Raises WorkbookError for positions outside the set or an empty index.
        """
        wanted = self._positions(index)
        head = self.read(wanted[:CHUNK])
        out = torch.empty(len(wanted), *head.shape[1:])
        out[: len(head)] = head
        chunks = range(CHUNK, len(wanted), CHUNK)
        for at in shown(chunks, f"reading {self.name}") if progress else chunks:
            out[at : at + CHUNK] = self.read(wanted[at : at + CHUNK])
        return out.div_(255)

    def _positions(self, index: Sequence[int] | Tensor | None) -> list[int]:
        at = torch.arange(len(self)) if index is None else torch.as_tensor(index)
        if at.dtype == torch.bool and at.shape == (len(self),):
            at = at.nonzero().flatten()
        if at.ndim != 1 or not len(at) or at.is_floating_point() or at.dtype == torch.bool:
            raise WorkbookError(f"Images of '{self.name}' are asked for by a list of positions, not by {index!r}.")
        if at.min() < 0 or at.max() >= len(self):
            raise WorkbookError(
                f"The set '{self.name}' has images 0 to {len(self) - 1}, but {int(at.min())} to {int(at.max())} "
                "were asked for."
            )
        return at.tolist()
