"""How a training descends: optimiser, schedule, length."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError, choices

OPTIMISERS = ("adam", "sgd", "lars")


@dataclass(frozen=True)
class Recipe:
    """How to descend: optimiser, schedule, length."""

    steps: int
    batch: int = 32
    rate: float = 1e-3
    optimiser: str = "adam"  # AdamW; "sgd" and "lars": with momentum
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = (
        "cosine"  # "cosine": to zero over all steps; "halve": by half every `halve_every`; "falls"; "constant"
    )
    halve_every: int = 0
    falls: tuple[tuple[float, float], ...] = ()  # (share of the steps, share of the rate from there on), ascending
    warmup: int = 0  # steps of linear rise before the schedule
    clip: float | None = None  # largest L2 norm of the gradient
    check_every: int = 200  # steps between two looks at the held-out measure
    amp: bool = False  # bfloat16 autocast
    seed: int = 0
    shards: int = 1  # pieces of each batch, passed one after the other (less memory) or by as many processes
    shares: dict[str, float] = field(default_factory=dict)  # of the rate, for weights whose name starts so

    def __post_init__(self) -> None:
        """Refuse what the loop would misread."""
        for name, allowed in {
            "optimiser": OPTIMISERS,
            "schedule": ("cosine", "halve", "falls", "constant"),
        }.items():
            if getattr(self, name) not in allowed:
                raise WorkbookError(f"{name} is one of {choices(allowed)}, not '{getattr(self, name)}': choose one.")
        if min(self.steps, self.batch, self.check_every, self.shards) < 1 or self.rate <= 0:
            raise WorkbookError("A recipe needs steps, batch, check_every and shards of at least 1 and a rate above 0.")
        if self.optimiser == "lars" and not self.weight_decay > 0:  # lightly's scales only weights that decay
            raise WorkbookError("LARS needs a weight_decay above 0 (SimCLR: 1e-6), or it is plain SGD: give one.")
        if self.warmup < 0 or (self.clip is not None and not self.clip > 0):
            raise WorkbookError(
                "A recipe's warmup is 0 or more steps and its clip above 0 or None, "
                f"not {self.warmup} and {self.clip}: change these."
            )
        if self.schedule == "halve" and self.halve_every < 1:
            raise WorkbookError("The schedule 'halve' needs halve_every, in steps, of at least 1.")
        if (self.schedule == "falls") != bool(self.falls) or list(self.falls) != sorted(self.falls):
            raise WorkbookError(
                f"falls go, ascending, with the schedule 'falls' alone, not {self.falls} here: fix them."
            )

    def factor(self, step: int) -> float:
        """Learning rate at `step` (from 0), as a share of `rate`."""
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        if self.schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / max(1, self.steps - self.warmup)))
        if self.schedule == "halve":
            return 0.5 ** (step // self.halve_every)
        return next((share for start, share in reversed(self.falls) if step >= start * self.steps), 1.0)

    def optimiser_for(self, weights: nn.Module | Iterable[tuple[str, Tensor]]) -> torch.optim.Optimizer:
        """The optimiser of the weights that learn, of a model or by name; one group for each share of the rate.

        LARS scales a layer's step by the norm of its weights; biases and norms (one dimension) take the plain step of
        SGD and do not decay, as in SimCLR and BYOL.
        """
        named = list(weights.named_parameters() if isinstance(weights, nn.Module) else weights)
        for prefix in self.shares:
            if not any(name.startswith(prefix) for name, _ in named):
                raise WorkbookError(
                    f"A share of the rate is for '{prefix}', but no weight's name starts so: correct it."
                )
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, weight in named:
            share = next((share for prefix, share in self.shares.items() if name.startswith(prefix)), 1.0)
            decay = 0.0 if self.optimiser == "lars" and weight.ndim < 2 else self.weight_decay
            if weight.requires_grad:
                groups.setdefault((share, decay), []).append(weight)
        parts = [{"params": some, "share": share, "weight_decay": decay} for (share, decay), some in groups.items()]
        if self.optimiser == "adam":
            return torch.optim.AdamW(parts, lr=self.rate, weight_decay=self.weight_decay)
        if self.optimiser == "sgd":
            return torch.optim.SGD(parts, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
        from lightly.utils.lars import LARS  # only here: few trainings use it

        return LARS(parts, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)
