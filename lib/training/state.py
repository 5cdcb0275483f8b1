"""Losses with a state that `fit` saves, resumes and shares, and the pieces such a state is made of."""

import copy
import math
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.errors import WorkbookError


@dataclass(frozen=True)
class Turn:
    """One optimiser step within a step of training, for losses that alternate.

    loss: the method of the `StatefulLoss` that gives the metrics of this turn, called as `forward` is. moves: how the
    names of the weights begin that it moves, where "model." stands before those of the model and "loss." before those
    of the loss. changes: entries of the recipe that differ in this turn (rate, optimiser, schedule, clip, ...).
    """

    loss: str
    moves: tuple[str, ...]
    changes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse to change what all turns of a step share."""
        common = {"steps", "batch", "check_every", "seed", "shards"} & set(self.changes)
        if common:
            raise WorkbookError(f"All turns of a step share {min(common)}: set it in the recipe, not in one turn.")


class StatefulLoss(nn.Module):
    """A loss that remembers: an EMA teacher, a queue, prototypes, running statistics, a policy.

    Parameters that require a gradient (a predictor, prototypes, a policy) are trained beside the model's; those of a
    teacher do not. Parameters and buffers are in every checkpoint. Data and settings are plain attributes: they key it.

    State changes in two places. Buffers written in `forward`, such as batch statistics, start alike in each piece of a
    batch and end as the mean over the pieces. Everything else belongs in `update`, which every process calls with the
    same rows, so that the state does not depend on how many processes there are.
    """

    turns: tuple[Turn, ...] = ()  # one after the other in each step; none: `forward` alone, which moves every weight
    _done = 0.0

    @property
    def done(self) -> float:
        """Share of the training's steps that are done, in [0,1), for what rises or falls on the way; `fit` sets it."""
        return self._done

    @done.setter
    def done(self, share: float) -> None:
        self._done = share

    def forward(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Metrics of the examples `index` (b,), among them the scalar "loss"; what has rows (k b, ...) is for `update`.

        Several turns: the history holds each turn's "loss" under the name of its method.
        """
        raise NotImplementedError

    def update(self, model: nn.Module, rows: dict[str, Tensor]) -> None:
        """Change the state after the last turn of a step, without gradients; rows: of the whole batch, in its order."""

    def settings(self) -> dict[str, Any]:
        """Data and settings: all plain attributes."""
        return {key: value for key, value in vars(self).items() if key[0] != "_" and key != "training"}


class EMA(nn.Module):
    """A copy of a model that follows it slowly and is not trained: the teacher of BYOL, MoCo and DINO.

    Its weights move in `follow`; its batch statistics are those of its own passes.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = copy.deepcopy(model).requires_grad_(False)

    def forward(self, *args: Any, **settings: Any) -> Any:
        """What the copy gives."""
        return self.model(*args, **settings)

    @torch.no_grad()
    def follow(self, model: nn.Module, momentum: float) -> None:
        """Every weight w of the copy becomes momentum w + (1 - momentum) w of `model`."""
        for own, other in zip(self.model.parameters(), model.parameters(), strict=True):
            own.mul_(momentum).add_(other, alpha=1 - momentum)


def rising_momentum(start: float, done: float) -> float:
    """Momentum of a teacher that rises from `start` to 1 along a cosine (BYOL, section 3.2); done in [0,1]."""
    return 1 - (1 - start) * (math.cos(math.pi * done) + 1) / 2


class Queue(nn.Module):
    """The last `size` embeddings (size, dim), unit vectors, oldest replaced first (MoCo); random ones at the start.

    lightly's memory bank drops what reaches beyond its end; this one goes on at the beginning.
    """

    def __init__(self, size: int, dim: int, seed: int = 0):
        super().__init__()
        start = torch.randn(size, dim, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("rows", F.normalize(start, dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def push(self, rows: Tensor) -> None:
        """Put embeddings (b, dim) in, b at most `size`, in place of the oldest."""
        size = len(self.rows)
        if len(rows) > size or rows.shape[1:] != self.rows.shape[1:]:
            raise WorkbookError(
                f"A queue of {tuple(self.rows.shape)} takes up to {size} rows of its width, not {tuple(rows.shape)}."
            )
        at = (self.place + torch.arange(len(rows), device=self.rows.device)) % size
        self.rows[at] = rows.to(self.rows)
        self.place.copy_((self.place + len(rows)) % size)
