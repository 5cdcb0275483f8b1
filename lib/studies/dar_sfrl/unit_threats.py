"""Action-unit probes under attack, and intervals of their F1 (page 10, Table 3)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.attacks.objectives import Objective
from lib.interval import Interval
from lib.studies.dar_sfrl.attacks import (
    SEVEN,
    attack,
)
from lib.studies.dar_sfrl.evaluation import (
    UnitProbe,
    UnitRecipe,
    features_of,
    fit_unit_probe,
)
from lib.studies.dar_sfrl.threats import outputs_of


def fitted_units(encoder: nn.Module, images: Tensor, present: Tensor, recipe: UnitRecipe) -> dict[str, Tensor]:
    """The weights of an action-unit probe on an encoder's features of images (n, 3, H, W)."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    return fit_unit_probe(encoder, features_of(encoder, images, device), present, recipe).layers.state_dict()


def unit_probe_from(encoder: nn.Module, fitted: dict[str, Tensor]) -> UnitProbe:
    """The action-unit probe with fitted weights, frozen."""
    units, inputs = fitted["1.weight"].shape
    probe = UnitProbe(encoder, inputs, units)
    probe.layers.load_state_dict(fitted)
    return probe.eval().requires_grad_(False)


def unit_goal(probe: nn.Module, present: Tensor) -> Objective:
    """The binary cross-entropy (n,) over all action units `present` (n, units) bool, to be raised."""

    def score(logits: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)

    device = next(probe.parameters()).device
    return Objective((probe,), probe, score, (present.float().to(device),))


def unit_answers(
    probe: nn.Module, target: nn.Module, x: Tensor, present: Tensor, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Which units a probe sees: "clean" (n, units), and "seen" (attacks, n, units) after attacks made on `target`.

    target: the surrogate's probe (threat model "transfer") or the probe itself ("end to end").
    """
    goal = unit_goal(target, present)
    moved = [attack(goal, x, SEVEN[name]) for name in names]
    return {"clean": outputs_of(probe, x) > 0, "seen": torch.stack([outputs_of(probe, images) > 0 for images in moved])}


def mean_f1(seen: Tensor, present: Tensor) -> Tensor:
    """Mean over units of the binary F1 of seen and present (n, units), in per cent; 0 for a unit nowhere."""
    both = (seen & present).double().sum(0)
    either = (seen.double() + present.double()).sum(0)
    return 100 * (2 * both / either.clamp_min(1)).mean()


def f1_interval(
    terms: Sequence[tuple[int, Tensor]], present: Tensor, people: LongTensor, resamples: int = 1000, seed: int = 0
) -> Interval:
    """A sum of mean F1s in per cent, each with its sign, such as clean less attacked; people are drawn, not images.

    terms: (sign, seen), with the units seen (seeds, n, units) by each training. The trainings are averaged, not drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    names, place = people.unique(return_inverse=True)
    chosen = torch.randint(len(names), (resamples, len(names)), generator=draw)
    weights = torch.zeros(resamples + 1, len(names), dtype=torch.double)
    weights[1:].scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.double))
    weights[0] = 1  # the sample itself
    total = torch.zeros(resamples + 1, dtype=torch.double)
    for sign, seen in terms:
        for one in seen:
            total += sign * f1_draws(weights, one, present, place) / len(seen)
    low, high = total[1:].quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Interval(total[0].item(), low, high, n=len(present), method="bootstrap over people")


def f1_draws(weights: Tensor, seen: Tensor, present: Tensor, place: LongTensor) -> Tensor:
    """`mean_f1` (draws,) of seen and present (n, units) when person place (n,) counts weights (draws, people) times."""
    both = (seen & present).double()
    either = seen.double() + present.double()
    people = torch.zeros(weights.shape[1], present.shape[1], dtype=torch.double)
    hits, sizes = (weights @ people.index_add(0, place, part) for part in (both, either))
    return 100 * (2 * hits / sizes.clamp_min(1)).mean(1)
