"""Several processes that train one model: what `fit` asks of `accelerate`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError


@cache
def accelerator() -> Any:
    """accelerate's handle on all processes of this launch."""
    from accelerate import Accelerator  # only here: importing it takes seconds

    return Accelerator()


@dataclass(frozen=True)
class Processes:
    """This process among `count` of them, numbered by `rank` from 0."""

    rank: int = 0
    count: int = 1

    @classmethod
    def here(cls, shards: int) -> "Processes":
        """The processes of this launch, which share `shards` pieces of each batch."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        found = cls(accelerator().process_index, accelerator().num_processes)
        if shards % found.count:
            raise WorkbookError(
                f"{found.count} processes share the pieces of a batch, so shards is a multiple of that, not {shards}."
            )
        return found

    def share(self, model: nn.Module, descend: Callable[[int], dict[str, float]], shards: int) -> dict[str, float]:
        """Call `descend(shard)` for the pieces of this process; gradients of all pieces add up, metrics are their mean.

        Every piece starts from the same buffers (batch normalisation's running statistics), which end as the mean of
        those after each piece: so they too do not depend on who did which.
        """
        if shards == 1:
            return descend(0)
        buffers = list(model.buffers())
        before = [buffer.clone() for buffer in buffers]
        sums = [torch.zeros_like(buffer, dtype=torch.promote_types(buffer.dtype, torch.float32)) for buffer in buffers]
        totals: dict[str, float] = {}
        for shard in range(self.rank, shards, self.count):
            _set(buffers, before)
            for key, value in descend(shard).items():
                totals[key] = totals.get(key, 0.0) + value / shards
            for total, buffer in zip(sums, buffers, strict=True):
                total += buffer / shards
        if self.count > 1:
            sums, totals = self.added(sums), dict(zip(totals, self.added(list(totals.values())), strict=True))
            weights = [weight for weight in model.parameters() if weight.grad is not None]
            _set([weight.grad for weight in weights], self.added([weight.grad for weight in weights]))
        _set(buffers, sums)
        return totals

    def added(self, values: list) -> list:
        """The sum of each value over all processes; numbers come back as numbers."""
        device = accelerator().device
        tensors = [
            torch.as_tensor(value, dtype=None if isinstance(value, Tensor) else torch.float64) for value in values
        ]
        summed = accelerator().reduce([tensor.to(device) for tensor in tensors], "sum")
        return [
            total.to(value.device) if isinstance(value, Tensor) else total.item()
            for total, value in zip(summed, values, strict=True)
        ]


@torch.no_grad()
def _set(targets: list[Tensor], values: list[Tensor]) -> None:
    for target, value in zip(targets, values, strict=True):
        target.copy_(value if target.is_floating_point() else value.round())  # counts: 1/6, six times, is below 1
