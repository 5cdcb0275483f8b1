"""The one training loop: any model, any loss, resumed after a kill to the same result.

    history = fit(model, Denoising(images, 0.04), len(images), Recipe(steps=2000, rate=1e-3), held_out=error)

Nothing in a step depends on the steps before it but the weights and the optimiser: the batch and every random number
follow from the seed and the step alone. So a checkpoint needs no generator states, and a resumed run is the same run.

On several GPUs or machines each process calls `fit` alike (`accelerate launch`, or `lib.training.launch` from a
notebook). A step's batch is cut into `Recipe.shards` pieces with random numbers of their own; the processes share the
pieces and add their gradients up. What is computed depends on the number of pieces and not on that of processes: one
process gives the same curve as two.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import LongTensor, Tensor, nn

from lib.cache import digest
from lib.dependencies import code_of
from lib.errors import WorkbookError, choices
from lib.paths import RUNS, atomic
from lib.progress import progress
from lib.seeds import seeded
from lib.training.processes import Processes

SAVE_SECONDS = 30.0
LAYERS = 1 << 40  # apart from the seeds of the losses, or both would draw the same numbers
SHARD = 1 << 41
Metrics = dict[str, Tensor]
Measure = Callable[[nn.Module], float | Mapping[str, float]]
Trained = dict[str, Any]  # what a kept training gives: {"weights": state dict, "history": metrics}


class Loss(Protocol):
    """What `fit` minimises: a frozen dataclass, so that its data and settings can key the checkpoint."""

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """Metrics of the training examples `index` (b,), among them the scalar "loss"."""


@dataclass(frozen=True)
class Recipe:
    """How to descend: optimiser, schedule, length."""

    steps: int
    batch: int = 32
    rate: float = 1e-3
    optimiser: str = "adam"  # "sgd": with momentum
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
            "optimiser": ("adam", "sgd"),
            "schedule": ("cosine", "halve", "falls", "constant"),
        }.items():
            if getattr(self, name) not in allowed:
                raise WorkbookError(f"{name} is one of {choices(allowed)}, not '{getattr(self, name)}': choose one.")
        if min(self.steps, self.batch, self.check_every, self.shards) < 1 or self.rate <= 0:
            raise WorkbookError("A recipe needs steps, batch, check_every and shards of at least 1 and a rate above 0.")
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

    def optimiser_for(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of the weights that learn, in one group for each share of the rate."""
        names = [name for name, _ in model.named_parameters()]
        for prefix in self.shares:
            if not any(name.startswith(prefix) for name in names):
                raise WorkbookError(
                    f"A share of the rate is for '{prefix}', but no weight's name starts so: correct it."
                )
        groups: dict[float, list[Tensor]] = {}
        for name, weight in model.named_parameters():
            share = next((share for prefix, share in self.shares.items() if name.startswith(prefix)), 1.0)
            if weight.requires_grad:
                groups.setdefault(share, []).append(weight)
        parts = [{"params": weights, "share": share} for share, weights in groups.items()]
        if self.optimiser == "adam":
            return torch.optim.AdamW(parts, lr=self.rate, weight_decay=self.weight_decay)
        return torch.optim.SGD(parts, lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay)


def fit(
    model: nn.Module,
    loss: Loss,
    count: int,
    recipe: Recipe,
    *,
    held_out: Measure | None = None,
    label: str = "training",
    folder: Path | None = None,
) -> dict[str, Tensor]:
    """Train `model` in place on examples 0 ... count-1; give every metric of `loss` at each step.

    held_out: a measure, lower is better, on examples that `loss` does not see; it is taken every `check_every` steps
    ("held_out" and "checked" of the history) and `model` ends with the weights of its lowest value. It may give several
    by name, all of which the history keeps: the one named "held_out" chooses. Where none does the last weights stay.
    A killed run goes on from its last checkpoint (every 30 s, in `folder`, default runs/checkpoints) and ends with the
    same weights; so `held_out`, like `loss`, is something that can be keyed: a function, a `functools.partial` of one,
    or a frozen dataclass. Leaves `model` in eval mode.
    """
    if count < 1:
        raise WorkbookError("There is nothing to train on: give at least one example.")
    learns = [weight.requires_grad for weight in model.parameters()]
    name = digest(model, learns, loss, count, recipe, held_out, code_of(fit), code_of(type(loss)))
    path = (folder or RUNS / "checkpoints") / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    run, saved = _Descent(model, loss, count, recipe, held_out), time.monotonic()
    run.read(path)
    with seeded(recipe.seed):
        for step in progress(range(run.step, recipe.steps), label) if run.first else range(run.step, recipe.steps):
            run.advance(step)
            if run.first and time.monotonic() - saved > SAVE_SECONDS:
                run.write(path)
                saved = time.monotonic()
    if run.first:
        path.unlink(missing_ok=True)
    if run.best is not None:
        model.load_state_dict(run.best["weights"])
    model.eval()
    return {key: torch.tensor(values) for key, values in run.history.items()}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


class _Descent:
    """The state of a training run: weights, optimiser, step, history, best weights so far."""

    def __init__(self, model: nn.Module, loss: Loss, count: int, recipe: Recipe, held_out: Measure | None):
        self.model, self.loss, self.recipe, self.held_out = model, loss, recipe, held_out
        self.processes = Processes.here(recipe.shards)
        self.first = self.processes.rank == 0
        self.count, self.batch = count, min(recipe.batch, count)
        if self.batch < recipe.shards:
            raise WorkbookError(f"A batch of {self.batch} cannot be cut into {recipe.shards} shards: ask for fewer.")
        self.optimiser = recipe.optimiser_for(model)
        self.step, self.history, self.best = 0, {}, None
        self.order: tuple[int, LongTensor] | None = None

    def index(self, step: int) -> LongTensor:
        """The examples of a step: each epoch in a fresh order, a rest smaller than a batch left out."""
        epoch, turn = divmod(step, self.count // self.batch)
        if self.order is None or self.order[0] != epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            self.order = (epoch, torch.randperm(self.count, generator=generator))
        return self.order[1][turn * self.batch : (turn + 1) * self.batch]

    def advance(self, step: int) -> None:
        """One step of descent, and a look at the held-out measure when it is due."""
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate * self.recipe.factor(step) * group["share"]
        self.optimiser.zero_grad()
        metrics = self.processes.share(self.model, lambda shard: self.descend(step, shard), self.recipe.shards)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.optimiser.step()
        self.step = step + 1
        self.note(metrics)
        if self.held_out and (self.step % self.recipe.check_every == 0 or self.step == self.recipe.steps):
            self.check(set(metrics))

    def descend(self, step: int, shard: int) -> dict[str, float]:
        """Add the gradient of one piece of the step's batch; its metrics."""
        seed = (self.recipe.seed + 1) * 1_000_000_007 + step + SHARD * shard
        torch.manual_seed(seed + LAYERS)  # for layers that draw, such as dropout
        index = self.index(step).tensor_split(self.recipe.shards)[shard]
        with torch.autocast(_device(self.model).type, torch.bfloat16, enabled=self.recipe.amp):
            metrics = self.loss(self.model, index, torch.Generator().manual_seed(seed))
        if not metrics["loss"].isfinite():
            raise WorkbookError(f"The loss became {metrics['loss']:.3g} at step {step}: lower the rate or clip.")
        (metrics["loss"] / self.recipe.shards).backward()
        return {key: value.item() for key, value in metrics.items()}

    def note(self, metrics: dict[str, float]) -> None:
        """Append to the history."""
        for key, value in metrics.items():
            self.history.setdefault(key, []).append(value)

    def check(self, taken: set[str]) -> None:
        """Measure on held-out examples, under names not `taken`; remember the weights when they are the best so far."""
        self.model.eval()
        with torch.no_grad():
            found = self.held_out(self.model)
        found = dict(found) if isinstance(found, Mapping) else {"held_out": float(found)}
        for name, value in found.items():
            if math.isnan(value):
                raise WorkbookError(f"The measure {name} became nan at step {self.step}: lower the rate or clip.")
        clash = taken & set(found)
        if clash:
            raise WorkbookError(f"The loss and the held-out measure both give '{min(clash)}': rename one of them.")
        self.note(found | {"checked": self.step})
        value = found.get("held_out")
        if value is not None and (self.best is None or value < self.best["value"]):
            weights = {key: tensor.detach().cpu().clone() for key, tensor in self.model.state_dict().items()}
            self.best = {"value": value, "weights": weights}

    def write(self, path: Path) -> None:
        """Save the state; a kill leaves the old file or the new one."""
        state: dict[str, Any] = {"step": self.step, "history": self.history, "best": self.best}
        state |= {"model": self.model.state_dict(), "optimiser": self.optimiser.state_dict()}
        with atomic(path) as scratch:
            torch.save(state, scratch)

    def read(self, path: Path) -> None:
        """Go on from a checkpoint, if there is a whole one."""
        if not path.exists():
            return
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
        except Exception:  # a damaged file is as good as none
            path.unlink(missing_ok=True)  # another process may have been first
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.history, self.best = state["step"], state["history"], state["best"]
