"""Attacks that a random defence cannot hide from: long walks, EOT, AutoAttack, all judged on fresh draws.

Everything is for verification pairs x, y (P, C, H, W) in [0,1] of which the first image is attacked; same (P,).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.attacks import Intensity, Settings, autoattack_pairs, frozen, in_batches, verification
from lib.attacks.autoattack import VERSIONS
from lib.attacks.budgets import Region
from lib.attacks.guard import differentiable
from lib.attacks.objectives import Objective, reference_embeddings
from lib.errors import WorkbookError
from lib.evaluation.randomised_defences import scores_over_draws
from lib.models import Recogniser
from lib.progress import progress
from lib.seeds import seeded


def goal_of(model: Recogniser, y: Tensor, same: Tensor, draws: int = 1) -> Objective:
    """The verification objective against embeddings of `y` that are averaged over a random model's `draws`.

    The other image of a pair passes the defence too: an attacker who averages gradients averages its embedding as well.
    """
    anchors = sum(reference_embeddings(model, y) for _ in range(draws))
    return verification(model, torch.nn.functional.normalize(anchors, dim=1), same)


def attack(
    model: Recogniser, x: Tensor, y: Tensor, same: Tensor, budget: Intensity, settings: Settings, seed: int = 0
) -> Tensor:
    """Adversarial first images (P, C, H, W); what model and attack draw follows from `seed`."""
    with seeded(seed):
        goal = goal_of(model, y, same, settings.eot)
        generator = torch.Generator().manual_seed(seed)
        return in_batches(goal, x, budget, settings, generator=generator, progress=True)


def scores_under(
    attacked: Recogniser,
    judge: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    budget: Intensity,
    settings: Settings,
    draws: int = 1,
    seed: int = 0,
) -> Tensor:
    """Scores (draws, P) that `judge` gives to pairs attacked on `attacked`, with draws that the attack never saw.

    Online where both are the defended model (with any surrogate gradient); offline or transfer where `attacked` is the
    bare recogniser.
    """
    return scores_over_draws(judge, attack(attacked, x, y, same, budget, settings, seed), y, draws, seed + 1)


@dataclass(frozen=True)
class _Here:
    """The region of a budget, whose start is where the walk stands."""

    region: Region
    at: Tensor

    def __getattr__(self, name: str) -> object:
        return getattr(self.region, name)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        return self.at


@dataclass(frozen=True)
class Resumed:
    """A budget around `clean`, whatever images come: those are where a "uniform" start begins."""

    budget: Intensity
    clean: Tensor

    def around(self, x: Tensor) -> _Here:
        """The region around the clean images, to be walked from `x`."""
        return _Here(self.budget.around(self.clean.to(x.device)), x)

    def rows(self, index: slice | Tensor) -> "Resumed":
        """The budget of the images `index`."""
        return Resumed(self.budget.rows(index), self.clean[index])


def walk(
    goal: Objective, x: Tensor, budget: Intensity, settings: Settings, stops: Sequence[int], seed: int = 0
) -> list[Tensor]:
    """One long attack, its images (P, C, H, W) at each number of steps of `stops` (ascending).

    As `ascend` with the last image kept, so without momentum and restarts; the budget stays around the clean images.
    """
    if list(stops) != sorted(set(stops)) or settings.decay or settings.keep != "last" or settings.restarts > 1:
        raise WorkbookError("A walk takes ascending stops, no momentum, no restarts and keep='last': change these.")
    generator = torch.Generator().manual_seed(seed)
    images = x if settings.start == "clean" else budget.around(x).sample(generator)
    found = []
    done = 0
    for stop in progress(stops, "walking on"):
        leg = settings.but(steps=stop - done, start="uniform")
        images = in_batches(goal, images, Resumed(budget, x), leg, generator=generator)
        done = stop
        found.append(images)
    return found


def walk_scores(
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    budget: Intensity,
    settings: Settings,
    stops: Sequence[int],
    draws: int = 1,
    seed: int = 0,
) -> Tensor:
    """Scores (stops, draws, P) along one online `walk`."""
    with seeded(seed):
        found = walk(goal_of(model, y, same, settings.eot), x, budget, settings, stops, seed)
    return torch.stack([scores_over_draws(model, images, y, draws, seed + 1) for images in found])


def autoattack_scores(
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    budget: Intensity,
    threshold: float,
    iterations: int = 100,
    random: bool = True,
    draws: int = 1,
    seed: int = 0,
) -> Tensor:
    """Scores (draws, P) under AutoAttack's APGD-CE and APGD-DLR, on pairs with distinct first images.

    `random`: its randomised version, 20 EOT draws a step. It stops at the pairs judged wrongly at `threshold` and gives
    the others back clean. Fewer `iterations` than 100 are a quick look, no AutoAttack number.
    """
    size = x[0].numel() ** 0.5 if budget.norm == "l2" else 1.0
    norm = {"l2": "L2", "linf": "Linf"}[budget.norm]
    version = "rand" if random else VERSIONS["rand"]
    with seeded(seed):
        found = autoattack_pairs(
            model,
            x,
            goal_of(model, y, same, draws).references[0],
            same,
            budget.radius(x) * size,
            threshold=threshold,
            norm=norm,
            version=version,
            iterations=iterations,
            seed=seed,
        )
    return scores_over_draws(model, found.images, y, draws, seed + 1)


def gradient_norms(model: Recogniser, x: Tensor, y: Tensor, same: Tensor, seed: int = 0, batch: int = 32) -> Tensor:
    """L2 norms (P,) of the attack's first gradient at the clean images: where one is 0, a gradient attack is blind."""
    norms = []
    with seeded(seed), frozen(model), differentiable():
        goal = goal_of(model, y, same)
        for rows in torch.arange(len(x)).split(batch):
            leaf = x[rows].to(goal.device or x.device).requires_grad_()
            (gradient,) = torch.autograd.grad(goal.rows(rows.to(leaf.device))(leaf).sum(), leaf)
            norms.append(gradient.flatten(1).norm(dim=1).cpu())
    return torch.cat(norms)


def distinct_rows(first: LongTensor, same: Tensor, count: int) -> LongTensor:
    """About `count` rows of pairs, half of each kind, evenly spaced, no first image (positions `first`) twice."""
    once = torch.zeros(len(first), dtype=torch.bool)
    once[list({image: row for row, image in reversed(list(enumerate(first.tolist())))}.values())] = True
    kinds = [(once & kind).nonzero().flatten() for kind in (same, ~same)]
    each = min(count // 2, *map(len, kinds))
    if not each:
        raise WorkbookError("There are no pairs of both kinds with first images of their own: give more pairs.")
    return torch.cat([kind[torch.arange(each) * len(kind) // each] for kind in kinds])


def worst_on_fresh_draws(same: Tensor, *scores: Tensor) -> Tensor:
    """The worst attack of each pair, from scores (draws, P): each half of the draws scores what the other half picked.

    Picked and scored by the same draws of a random model, the worst of many attacks would partly be the draws' luck.
    A fixed model has one row, which does both.
    """
    every = torch.stack(scores)
    half = every.shape[1] // 2
    if not half:
        return _picked(same, every, every)
    one = every[:, :half]
    two = every[:, half:]
    return torch.cat([_picked(same, two, one), _picked(same, one, two)])


def _picked(same: Tensor, by: Tensor, scored: Tensor) -> Tensor:
    """Scores (draws, P) of each pair's worst attack, the worst by the means of `by`; both (attacks, draws, P)."""
    means = by.mean(1)
    worst = torch.where(same, means.argmin(0), means.argmax(0))
    return scored[worst, :, torch.arange(len(same))].T


def broken(scores: Tensor, same: Tensor, threshold: float) -> Tensor:
    """Pairs (P,) judged wrongly at `threshold` by the mean of their scores (draws, P)."""
    return (scores.mean(0) > threshold) != same


def push(scores: Tensor, clean: Tensor, same: Tensor) -> Tensor:
    """How far an attack moved each pair's mean score the wrong way (P,): needs far fewer pairs than an error rate."""
    return torch.where(same, -1.0, 1.0) * (scores.mean(0) - clean.mean(0))
