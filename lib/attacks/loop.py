"""The one ascent loop. Every gradient attack of the book is `ascend` with a budget and a row of `settings`."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from lib.attacks.budgets import Budget, Region, normal, norms
from lib.attacks.diversity import diversify
from lib.attacks.guard import arranged, check_images, differentiable, frozen
from lib.attacks.objectives import Objective
from lib.attacks.settings import Settings
from lib.errors import WorkbookError
from lib.models.base import batch_size
from lib.progress import progress

Score = Objective | Callable[[Tensor], Tensor]
OnStep = Callable[[int, Tensor, Tensor], None]  # the step's number from 0, images (n, C, H, W), their scores (n,)


def ascend(
    objective: Score,
    x: Tensor,
    budget: Budget,
    settings: Settings,
    *,
    generator: torch.Generator | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Move images `x` (n, C, H, W) in [0,1] uphill on `objective` inside `budget`; returns them on the device of `x`.

    `objective` gives scores (n,) of images: an `Objective`, or any callable (whose model is then not put in eval mode).
    One forward and one input gradient per step, times `eot` and `scales`; weights never get a gradient. With
    `keep="last"` and one climb this is the textbook attack; `keep="best"` returns each image's highest score met.
    `generator` feeds starts and input diversity, default the global one. `on_step(step, images, scores)` is told each
    iterate that a gradient was taken at, from the start on, but not the images returned; the climb goes on in the same
    memory, so it copies what it keeps.
    Raises WorkbookError for images or scores of the wrong shape, range or value.
    """
    check_images(x, len(objective) if getattr(objective, "references", ()) else None)
    if isinstance(settings.start, Tensor) and settings.start.shape != x.shape:
        came = f"{tuple(settings.start.shape)} for images {tuple(x.shape)}"
        raise WorkbookError(f"A start has the shape of the images, but {came} came: give one start per image.")
    if settings.keep == "best" and getattr(objective, "coupled", False):
        raise WorkbookError('A coupled objective has no best image of its own per row: use keep="last".')
    modules = getattr(objective, "modules", ())
    with frozen(*modules, dropout=settings.dropout), differentiable():
        region = budget.around(arranged(x.detach().to(getattr(objective, "device", None) or x.device), *modules))
        step = settings.step_size(region.clean, region.radius)
        climber = _Climber(objective, settings, region, step, generator, on_step)
        images = reduce(_better, (climber.climb() for _ in range(settings.restarts)))[0]
        return torch.empty_like(x).copy_(images)


def in_batches(
    objective: Score,
    x: Tensor,
    budget: Budget,
    settings: Settings,
    *,
    batch: int | None = None,
    **keywords: object,
) -> Tensor:
    """`ascend` on `batch` images at a time (default: 32 on a CPU, 256 on a GPU), the rows of everything cut alike.

    Random numbers are drawn batch by batch, so results with a random start depend on `batch`. keywords: `ascend`'s.
    """
    batch = batch_size(batch, getattr(objective, "device", None) or x.device)
    if len(x) <= batch:
        return ascend(objective, x, budget, settings, **keywords)
    if not hasattr(objective, "rows"):
        raise WorkbookError(
            "A plain function cannot be cut into batches: wrap it in an `Objective` with its references."
        )
    check_images(x, len(objective) if objective.references else None)
    parts = [slice(start, start + batch) for start in range(0, len(x), batch)]
    return torch.cat(
        [
            ascend(objective.rows(part), x[part], budget.rows(part), settings.rows(part), **keywords)
            for part in progress(parts, "attack")
        ]
    )


@torch.no_grad()
def scores(objective: Objective, x: Tensor) -> Tensor:
    """Scores (n,) of images (n, C, H, W), in batches, in eval mode and without gradients."""
    device = objective.device or x.device
    size = len(x) if objective.coupled else batch_size(None, device)
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    with frozen(*objective.modules):
        whole = len(parts) == 1
        return torch.cat([(objective if whole else objective.rows(part))(x[part].to(device)) for part in parts])


def strongest(judge: Objective, *candidates: Tensor) -> Tensor:
    """Per image, the candidate (n, C, H, W) with the highest score of `judge`: the strongest of several attacks."""
    worst = torch.stack([scores(judge, images) for images in candidates]).argmax(0).to(candidates[0].device)
    return torch.stack(candidates)[worst, torch.arange(len(worst), device=worst.device)]


Found = tuple[Tensor, Tensor | None]  # images (n, C, H, W) and their scores (n,), where something asks for these


def _better(one: Found, two: Found) -> Found:
    """Per image the one with the higher score; the first where they tie."""
    wins = two[1] > one[1]
    return torch.where(wins.view(-1, 1, 1, 1), two[0], one[0]), torch.where(wins, two[1], one[1])


@dataclass
class _Climber:
    """One attack on one batch: what stays the same over its steps and restarts."""

    objective: Score
    settings: Settings
    region: Region
    step: Tensor
    generator: torch.Generator | None
    on_step: OnStep | None
    momentum: Tensor | None = field(default=None, init=False)

    def climb(self) -> Found:
        settings = self.settings
        best = self.settings.keep == "best"
        images = torch.empty_like(self.region.clean).copy_(self.start())
        self.momentum = None
        pulse = 0.0
        found = self.scored(self.region.clean) if best and settings.moved else None
        for turn in range(settings.count):
            gradient, score = self.gradient(images)
            if self.on_step:
                self.on_step(turn, images, score)
            if best:
                here = self.scored(images) if settings.looks_elsewhere else (images, score)
                found = _better(found or (images, score - torch.inf), here)
            self.move_(images, self.direction(gradient), turn)
            pulse = pulse + gradient.sum()
        if not torch.as_tensor(pulse).isfinite():  # told once per climb: `sign` would turn NaN into "stay"
            raise WorkbookError("The objective's gradient is not finite: smooth its score where it is 0/0.")
        if not best and settings.restarts == 1:
            return images, None
        return _better(found, self.scored(images)) if found else self.scored(images)

    def start(self) -> Tensor:
        clean = self.region.clean
        start = self.settings.start
        if isinstance(start, Tensor):
            return self.region.project_(start.detach().to(clean).clone())
        if start == "uniform":
            return self.region.sample(self.generator)
        if start == "gaussian":
            return self.region.project_(normal(clean, self.generator).mul_(0.001).add_(clean))
        return clean

    def gradient(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Input gradient and score (n,), averaged over EOT draws and scale copies."""
        leaf = images.detach().requires_grad_()
        draws = self.settings.eot * self.settings.scales
        gradient = None
        total = 0.0
        for _ in range(self.settings.eot):
            view = self.look(leaf)
            for scale in range(self.settings.scales):
                score = self.evaluate(view / 2**scale if scale else view)
                if not score.requires_grad:
                    raise WorkbookError("The objective does not depend on the images: compute its score from them.")
                (part,) = torch.autograd.grad(score.sum(), leaf, retain_graph=scale + 1 < self.settings.scales)
                gradient = part if gradient is None else gradient + part
                total = total + score.detach()
        return (gradient / draws, total / draws) if draws > 1 else (gradient, total)

    def look(self, images: Tensor) -> Tensor:
        """Where the gradient is taken: ahead along the momentum, and through a random resize."""
        if self.settings.nesterov and self.momentum is not None:
            images = images + self.settings.decay * self.step * self.momentum
        return diversify(images, self.settings, self.generator)

    def direction(self, gradient: Tensor) -> Tensor:
        decay = self.settings.decay
        if decay:
            gradient = gradient / (gradient.abs().mean(dim=(1, 2, 3), keepdim=True) + 1e-12)
            gradient = gradient if self.momentum is None else gradient + self.momentum * decay
            self.momentum = gradient
        return gradient.sign() if self.settings.rule == "sign" else gradient / (norms(gradient) + 1e-10)

    def move_(self, images: Tensor, direction: Tensor, turn: int) -> None:
        step = self.step
        steps = self.settings.steps
        if isinstance(steps, Tensor):
            step = step * (turn < steps.to(step.device)).view(-1, 1, 1, 1)
        self.region.project_(images.addcmul_(direction, step))

    def scored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """`images` with their scores (n,), without a gradient, averaged over EOT draws."""
        with torch.no_grad():
            return images, sum(self.evaluate(images) for _ in range(self.settings.eot)) / self.settings.eot

    def evaluate(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16) if self.settings.amp else nullcontext():
            score = self.objective(images)
        if score.shape != (len(images),):
            raise WorkbookError(
                f"An objective gives one score per image, ({len(images)},), but {tuple(score.shape)} came: reduce it."
            )
        return score
