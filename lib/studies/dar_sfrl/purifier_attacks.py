"""A purifier's time chosen on held-out images, and attacks on it by transfer, BPDA and exact gradients (page 10)."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.objectives import cross_entropy
from lib.attacks.settings import PGD
from lib.seeds import seeded
from lib.studies.dar_sfrl.attacks import Straight, attack
from lib.studies.dar_sfrl.purification import DiffPure, Purified, draws_right


@dataclass(frozen=True)
class PurifierAttack:
    """How a purifier is attacked: steps, gradients averaged a step, draws in the evaluation, steps of the sampler."""

    steps: int = 10
    eot: int = 4
    draws: int = 8
    sampler_steps: int = 5


def purifier_of(diffusion: nn.Module, time: int, side: int, sampler_steps: int) -> DiffPure:
    """DiffPure with noise up to `time`, for images of `side` pixels, at most 32 of which the network sees."""
    return DiffPure(diffusion, time, min(sampler_steps, time), min(side, 32))


def purified_draws(
    diffusion: nn.Module,
    classifier: nn.Module,
    time: int,
    images: dict[str, Tensor],
    labels: LongTensor,
    plan: PurifierAttack,
) -> dict[str, Tensor]:
    """Which images (draws, n) a purified classifier judges rightly: "clean", and after each kind of attack.

    images: "clean", and "transfer", made on the bare classifier. "BPDA" takes the identity for the purifier's gradient;
    "exact" goes back through the whole sampler. Both average the gradients of `plan.eot` draws.
    """
    x = images["clean"]
    purify = purifier_of(diffusion, time, x.shape[2], plan.sampler_steps)
    model = Purified(purify, classifier).eval()
    settings = PGD.but(steps=plan.steps, eot=plan.eot)
    found = dict(images)
    for kind, target in {"BPDA": Straight(purify, classifier).eval(), "exact": model}.items():
        with seeded(0):
            found[kind] = attack(cross_entropy(target, labels), x, settings)
    return {name: draws_right(model, moved, labels, plan.draws) for name, moved in found.items()}


def sweep_purifier(
    diffusion: nn.Module,
    classifier: nn.Module,
    images: dict[str, Tensor],
    labels: LongTensor,
    times: tuple[int, ...],
    plan: PurifierAttack,
) -> dict[str, Tensor]:
    """Accuracy of a purified classifier at each purification time, on each kind of held-out images: (times,) each."""
    side = next(iter(images.values())).shape[2]
    found: dict[str, list[float]] = {name: [] for name in images}
    for time in times:
        model = Purified(purifier_of(diffusion, time, side, plan.sampler_steps), classifier).eval()
        for name, moved in images.items():
            found[name].append(draws_right(model, moved, labels, plan.draws).double().mean().item())
    return {name: torch.tensor(values) for name, values in found.items()}
