"""Attacks that a random defence cannot hide from: long ascents, EOT, AutoAttack, all judged on fresh draws.

Everything is for verification pairs of which the first image is attacked.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import LongTensor, Tensor

from lib.attacks import Objective, Threat, ascend_pairs, autoattack_pairs, expected_verification
from lib.attacks.autoattack import VERSIONS
from lib.attacks.guard import differentiable, frozen
from lib.attacks.loop import in_batches
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from lib.evaluation.randomised_defences import scores_over_draws
from lib.models import Recogniser
from lib.seeds import seeded


def scores_under(
    attacked: Recogniser, judge: Recogniser, pairs: ImagePairs, threat: Threat, draws: int = 1, seed: int = 0
) -> Tensor:
    """Scores (draws, P) that `judge` gives to pairs attacked on `attacked`, with draws that the attack never saw.

    Online where both are the defended model (with any surrogate gradient); offline or transfer where `attacked` is the
    bare recogniser.
    """
    return scores_over_draws(judge, ascend_pairs(attacked, pairs, threat, seed), pairs.y, draws, seed + 1)


def images_at_steps(goal: Objective, x: Tensor, threat: Threat, stops: Sequence[int], seed: int = 0) -> list[Tensor]:
    """One long attack on x (P, C, H, W), its images at each number of steps of `stops` (ascending).

    As `ascend` with the last image kept and one climb.
    """
    settings = threat.settings.but(steps=max(stops, default=1))
    if not stops or list(stops) != sorted(set(stops)) or settings.keep != "last" or settings.restarts > 1:
        raise WorkbookError("Images at steps take ascending stops, no restarts and keep='last': change these.")
    met: dict[int, list[Tensor]] = {stop: [] for stop in stops}

    def note(step: int, images: Tensor, scores: Tensor) -> None:
        if step in met:
            met[step].append(images.detach().clone().to(x.device))

    generator = torch.Generator().manual_seed(seed)
    met[stops[-1]] = [in_batches(goal, x, threat.budget, settings, generator=generator, on_step=note)]
    return [torch.cat(parts) for parts in met.values()]


def scores_at_steps(
    model: Recogniser, pairs: ImagePairs, threat: Threat, stops: Sequence[int], draws: int = 1, seed: int = 0
) -> Tensor:
    """Scores (stops, draws, P) along one long online attack, see `images_at_steps`."""
    with seeded(seed):
        goal = expected_verification(model, pairs, threat.settings.eot)
        met = images_at_steps(goal, pairs.x, threat, stops, seed)
    return torch.stack([scores_over_draws(model, images, pairs.y, draws, seed + 1) for images in met])


def autoattack_scores(
    model: Recogniser, pairs: ImagePairs, threat: Threat, threshold: float, draws: int = 1, seed: int = 0
) -> Tensor:
    """Scores (draws, P) under AutoAttack's APGD-CE and APGD-DLR, on pairs with distinct first images.

    threat: `AutoAttackSettings` and an `Intensity`. With more than one of `draws` the model is a random one and is met
    by the randomised version, 20 EOT draws a step. It stops at the pairs judged wrongly at `threshold` and gives
    the others back clean. Fewer `iterations` than 100 are a quick look, no AutoAttack number.
    """
    budget = threat.budget
    size = pairs.x[0].numel() ** 0.5 if budget.norm == "l2" else 1.0
    version = "rand" if draws > 1 else VERSIONS["rand"]
    settings = replace(threat.settings, norm={"l2": "L2", "linf": "Linf"}[budget.norm], version=version)
    options = {name: value for name, value in vars(settings).items() if name != "targets"}  # pairs have one target
    with seeded(seed):
        anchors = expected_verification(model, pairs, draws).references[0]
        eps = budget.radius(pairs.x) * size
        found = autoattack_pairs(model, pairs, eps, threshold=threshold, reference=anchors, seed=seed, **options)
    return scores_over_draws(model, found.images, pairs.y, draws, seed + 1)


def gradient_norms(model: Recogniser, pairs: ImagePairs, seed: int = 0, batch: int = 32) -> Tensor:
    """L2 norms (P,) of the attack's first gradient at the clean images: where one is 0, a gradient attack is blind."""
    norms = []
    with seeded(seed), frozen(model), differentiable():
        goal = expected_verification(model, pairs)
        for rows in torch.arange(len(pairs)).split(batch):
            leaf = pairs.x[rows].to(goal.device or pairs.x.device).requires_grad_()
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
