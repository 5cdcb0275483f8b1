"""The one training loop: any model, any loss, resumed after a kill to the same result.

    history = fit(model, Denoising(images, 0.04), len(images), Recipe(steps=2000, rate=1e-3), held_out=error)

Nothing in a step depends on the steps before it but the weights and the optimiser: the batch and every random number
follow from the seed and the step alone. So a checkpoint needs no generator states, and a resumed run is the same run.
What else a method must remember (a teacher, a queue, a policy) belongs to a `StatefulLoss`, of `lib.training.state`.

On several GPUs or machines each process calls `fit` alike (`accelerate launch`, or `lib.training.launch` from a
notebook). A step's batch is cut into `Recipe.shards` pieces with random numbers of their own; the processes share the
pieces and add their gradients up. What is computed depends on the number of pieces and not on that of processes: one
process gives the same curve as two.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import LongTensor, Tensor, nn

from lib.cache import digest
from lib.dependencies import code_of
from lib.errors import WorkbookError
from lib.paths import RUNS, atomic
from lib.progress import progress
from lib.seeds import seeded
from lib.training.processes import Processes
from lib.training.recipes import Recipe
from lib.training.state import StatefulLoss, Turn

SAVE_SECONDS = 30.0
LAYERS = 1 << 40  # apart from the seeds of the losses, or both would draw the same numbers
PIECE = (
    0x9E3779B1  # between the pieces and turns of a step: far apart also in the 32 bits that the CPU's generator reads
)
TURN = 1024 * PIECE
Metrics = dict[str, Tensor]
Measure = Callable[[nn.Module], float | Mapping[str, float]]
Trained = dict[str, Any]  # what a kept training gives: {"weights": state dict, "history": metrics}


class Loss(Protocol):
    """What `fit` minimises: a frozen dataclass, so that its data and settings can key the checkpoint.

    One with a state is a `StatefulLoss`.
    """

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """Metrics of the training examples `index` (b,), among them the scalar "loss"."""


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
    or a frozen dataclass. The state of a `StatefulLoss` is trained, kept, chosen and resumed along with the weights.
    Leaves `model` in eval mode.
    """
    if count < 1:
        raise WorkbookError("There is nothing to train on: give at least one example.")
    name = digest(model, _learns(model), loss, count, recipe, held_out, code_of(fit), code_of(type(loss)), *_own(loss))
    path = (folder or RUNS / "checkpoints") / f"{name}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    run = _Descent(model, loss, count, recipe, held_out)
    saved = time.monotonic()
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
        run.state.load_state_dict(run.best["state"])
    model.eval()
    run.state.eval()
    return {key: torch.tensor(values) for key, values in run.history.items()}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _learns(module: nn.Module) -> list[bool]:
    return [weight.requires_grad for weight in module.parameters()]


def _own(loss: Loss) -> list:
    """What keys a loss with a state beside its modules."""
    if isinstance(loss, nn.Module) and not isinstance(loss, StatefulLoss):
        raise WorkbookError(f"{type(loss).__name__} is a module, so it has a state: derive it from StatefulLoss.")
    return [_learns(loss), loss.settings()] if isinstance(loss, StatefulLoss) else []


class _Turn:
    """A loss, the weights that it moves by name, and the optimiser that moves them."""

    def __init__(self, loss: Loss, name: str, named: dict[str, Tensor], recipe: Recipe):
        if not any(weight.requires_grad for weight in named.values()):
            raise WorkbookError(f"The turn '{name}' has no weight to move: name some in its moves.")
        self.loss = loss
        self.name = name
        self.recipe = recipe
        self.weights = list(named.values())
        self.optimiser = recipe.optimiser_for((key.removeprefix("model."), weight) for key, weight in named.items())

    @classmethod
    def of(cls, turn: Turn, loss: StatefulLoss, named: dict[str, Tensor], recipe: Recipe) -> "_Turn":
        """The turn that a loss with a state asks for, of all weights by name."""
        moved = {key: weight for key, weight in named.items() if key.startswith(turn.moves)}
        return cls(getattr(loss, turn.loss), turn.loss, moved, replace(recipe, **turn.changes))

    def move(self, step: int) -> None:
        """Descend along the gradients at hand."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.rate * self.recipe.factor(step) * group["share"]
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimiser.step()


class _Descent:
    """The state of a training run: weights, the loss's own state, optimisers, step, history, best weights so far."""

    def __init__(self, model: nn.Module, loss: Loss, count: int, recipe: Recipe, held_out: Measure | None):
        self.model = model
        self.recipe = recipe
        self.held_out = held_out
        self.processes = Processes.here(recipe.shards)
        self.first = self.processes.rank == 0
        self.count = count
        self.batch = min(recipe.batch, count)
        if self.batch < recipe.shards:
            raise WorkbookError(f"A batch of {self.batch} cannot be cut into {recipe.shards} shards: ask for fewer.")
        self.state = loss.to(_device(model)) if isinstance(loss, StatefulLoss) else nn.Module()
        named = {f"model.{name}": weight for name, weight in model.named_parameters()}
        named |= {f"loss.{name}": weight for name, weight in self.state.named_parameters()}
        asked = getattr(loss, "turns", ())
        self.turns = [_Turn.of(turn, loss, named, recipe) for turn in asked] or [_Turn(loss, "loss", named, recipe)]
        self.step = 0
        self.history: dict[str, list[float]] = {}
        self.best: dict[str, Any] | None = None
        self.order: tuple[int, LongTensor] | None = None

    def index(self, step: int) -> LongTensor:
        """The examples of a step: each epoch in a fresh order, a rest smaller than a batch left out."""
        epoch, turn = divmod(step, self.count // self.batch)
        if self.order is None or self.order[0] != epoch:
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + epoch)
            self.order = (epoch, torch.randperm(self.count, generator=generator))
        return self.order[1][turn * self.batch : (turn + 1) * self.batch]

    def advance(self, step: int) -> None:
        """One step of descent, turn by turn, and a look at the held-out measure when it is due."""
        self.model.train()
        self.state.train()
        self.state.done = step / self.recipe.steps
        metrics: dict[str, float] = {}
        rows: dict[str, Tensor] = {}
        for number, turn in enumerate(self.turns):
            found, more = self.gradients(step, number)
            turn.move(step)
            metrics |= found
            rows |= more
        if isinstance(self.state, StatefulLoss):
            torch.manual_seed(self.seed(step, len(self.turns)))  # in every process the same
            with torch.no_grad():
                self.state.update(self.model, rows)
        self.step = step + 1
        self.note(metrics)
        if self.held_out and (self.step % self.recipe.check_every == 0 or self.step == self.recipe.steps):
            self.check(set(metrics))

    def seed(self, step: int, turn: int = 0, shard: int = 0) -> int:
        """What the random numbers of one piece of a step follow from."""
        return (self.recipe.seed + 1) * 1_000_000_007 + step + PIECE * shard + TURN * turn

    def gradients(self, step: int, number: int) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Fresh gradients of a turn over all pieces of the step's batch; its metrics, and rows for the loss's state."""
        for turn in self.turns:
            turn.optimiser.zero_grad()
        pieces = self.index(step).tensor_split(self.recipe.shards)
        rows: dict[int, dict[str, Tensor]] = {}

        def descend(shard: int) -> dict[str, float]:
            metrics, rows[shard] = self.descend(pieces[shard], number, step, shard)
            return metrics

        metrics = self.processes.share(self.model, descend, self.recipe.shards, self.state)
        return metrics, self.processes.gathered(rows, [len(piece) for piece in pieces])

    def descend(
        self, index: LongTensor, number: int, step: int, shard: int
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """Add the gradient of one piece of the step's batch; its metrics and rows."""
        turn = self.turns[number]
        seed = self.seed(step, number, shard)
        torch.manual_seed(seed + LAYERS)  # for layers that draw, such as dropout
        with torch.autocast(_device(self.model).type, torch.bfloat16, enabled=turn.recipe.amp):
            found = turn.loss(self.model, index, torch.Generator().manual_seed(seed))
        if not found["loss"].isfinite():
            raise WorkbookError(f"The {turn.name} became {found['loss']:.3g} at step {step}: lower the rate or clip.")
        (found["loss"] / self.recipe.shards).backward()
        stateful = isinstance(self.state, StatefulLoss)
        rows = {key: value.detach() for key, value in found.items() if stateful and value.ndim}
        metrics = {key: value.item() for key, value in found.items() if key not in rows}
        return {turn.name if key == "loss" else key: value for key, value in metrics.items()}, rows

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
            state = {key: tensor.detach().cpu().clone() for key, tensor in self.state.state_dict().items()}
            self.best = {"value": value, "weights": weights, "state": state}

    def write(self, path: Path) -> None:
        """Save the state; a kill leaves the old file or the new one."""
        state: dict[str, Any] = {"step": self.step, "history": self.history, "best": self.best}
        state |= {"model": self.model.state_dict(), "loss": self.state.state_dict()}
        state |= {"optimisers": [turn.optimiser.state_dict() for turn in self.turns]}
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
        self.state.load_state_dict(state["loss"])
        for turn, saved in zip(self.turns, state["optimisers"], strict=True):
            turn.optimiser.load_state_dict(saved)
        self.step = state["step"]
        self.history = state["history"]
        self.best = state["best"]
