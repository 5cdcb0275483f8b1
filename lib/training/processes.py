"""Several processes that train one model: what `fit` asks of `accelerate`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError

SUMS = (torch.float32, torch.float64)  # least precision in which buffers of the model, of the loss's state add up


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

    def share(
        self, model: nn.Module, descend: Callable[[int], dict[str, float]], shards: int, state: nn.Module | None = None
    ) -> dict[str, float]:
        """Call `descend(shard)` for the pieces of this process; gradients of all pieces add up, metrics are their mean.

        Every piece starts from the same buffers (batch normalisation's running statistics) of the model and of the
        loss's `state`, which end as the mean of those after each piece: so they too do not depend on who did which.
        """
        if shards == 1:
            return descend(0)
        modules = [model, state or nn.Module()]
        buffers = [buffer for module in modules for buffer in module.buffers()]
        before = [buffer.clone() for buffer in buffers]
        # a queue or targets that no piece changes come back exactly from a sum in float64
        kinds = [kind for module, kind in zip(modules, SUMS, strict=True) for _ in module.buffers()]
        sums = [
            torch.zeros_like(buffer, dtype=torch.promote_types(buffer.dtype, kind))
            for buffer, kind in zip(buffers, kinds, strict=True)
        ]
        totals: dict[str, float] = {}
        for shard in range(self.rank, shards, self.count):
            _set(buffers, before)
            for key, value in descend(shard).items():
                totals[key] = totals.get(key, 0.0) + value / shards
            for total, buffer in zip(sums, buffers, strict=True):
                total += buffer.to(total.dtype) / shards
        if self.count > 1:
            sums = self.added(sums)
            totals = dict(zip(totals, self.added(list(totals.values())), strict=True))
            weights = [weight for module in modules for weight in module.parameters() if weight.grad is not None]
            _set([weight.grad for weight in weights], self.added([weight.grad for weight in weights]))
        _set(buffers, sums)
        return totals

    def gathered(self, pieces: dict[int, dict[str, Tensor]], sizes: list[int]) -> dict[str, Tensor]:
        """Rows of the pieces of this process by name, put together with those of all others, in the batch's order.

        pieces: by number of the piece, which has sizes[number] examples and one or more rows for each.
        """
        whole = {}
        for name in next(iter(pieces.values())):
            each = {number: rows[name] for number, rows in pieces.items()}
            uneven = [number for number, rows in each.items() if len(rows) % sizes[number]]
            if uneven:
                raise WorkbookError(
                    f"A piece of {sizes[uneven[0]]} examples came with {len(each[uneven[0]])} rows of '{name}': "
                    "give as many for each example, or one number for all."
                )
            whole[name] = torch.cat([each[number] for number in sorted(each)])
            if self.count > 1:
                ends = torch.tensor([0, *sizes]).cumsum(0).tolist()
                times = len(whole[name]) // sum(sizes[number] for number in each)
                blank = whole[name].new_zeros(times * ends[-1], *whole[name].shape[1:])
                for number, rows in each.items():
                    blank[times * ends[number] : times * ends[number + 1]] = rows
                whole[name] = self.added([blank])[0]
        return whole

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
