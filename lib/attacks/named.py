"""The core's attacks by name, on recognisers (`ImagePairs`) and on classifiers (`LabelledImages`), within any budget.

Steps are relative to the budget, as a table compares budgets: torchattacks' 2/255 is a quarter of the usual 8/255.
"""

from functools import partial

import torch
from torch import Tensor, nn

from lib.attacks.autoattack import autoattack, autoattack_pairs
from lib.attacks.budgets import Ball, Budget, norms
from lib.attacks.deepfool import class_boundaries, deepfool, pair_boundaries
from lib.attacks.dropout import DFANET, with_dropout
from lib.attacks.evolutionary import Evolution, evolutionary, pair_decision
from lib.attacks.expectation import expected_verification
from lib.attacks.loop import in_batches
from lib.attacks.objectives import Objective, class_labels, cross_entropy, kl, margin
from lib.attacks.registry import ATTACKS, KINDS, NamedAttack, attacks_on, named_attack, register
from lib.attacks.settings import (
    BIM,
    DIFGSM,
    EOTPGD,
    FGSM,
    MIFGSM,
    NIFGSM,
    PGD,
    PGD_L2,
    RANDOM,
    SINIFGSM,
    TPGD,
    Settings,
)
from lib.data.examples import Examples, ImagePairs, LabelledImages
from lib.seeds import seeded

__all__ = ["ATTACKS", "NamedAttack", "attacks_on", "named_attack", "register"]

QUARTER = "eps/4"
SHORT = Evolution(queries=1000, report=())
THRESHOLD = 0.3  # the cosine at which a pair is accepted, for attacks that need a decision; see `NamedAttack.but`


def goal_of(model: nn.Module, examples: Examples, settings: Settings, loss: str = "") -> Objective:
    """What an attack increases: the wrong cosine of pairs, or of logits the cross-entropy, the "margin" or the "kl"."""
    if isinstance(examples, ImagePairs):
        return expected_verification(model, examples, settings.eot)
    if loss == "kl":
        return kl(model, examples.x)
    return (margin if loss == "margin" else cross_entropy)(model, examples.labels)


def climb(
    model: nn.Module, examples: Examples, budget: Budget, seed: int, settings: Settings = PGD, loss: str = ""
) -> Tensor:
    """The ascent loop with `settings` on the goal of these examples."""
    if settings.rule == "l2":
        settings = settings.but(step=_quarter_radius(examples.x, budget))
    with seeded(seed):
        generator = torch.Generator().manual_seed(seed)
        goal = goal_of(model, examples, settings, loss)
        return in_batches(goal, examples.x, budget, settings, generator=generator)


def _quarter_radius(x: Tensor, budget: Budget) -> Tensor:
    """A quarter of the Euclidean radius (n,) of each image's region; a box counts to its corners."""
    region = budget.around(x)
    reach = 1.0 if isinstance(region, Ball) else x[0].numel() ** 0.5
    return (region.radius.flatten() * reach / 4).expand(len(x))


def into(x: Tensor, moved: Tensor, budget: Budget) -> Tensor:
    """Each `moved - x` scaled to the border of the budget's region, then cut to [0,1]; what did not move stays."""
    delta = moved - x
    region = budget.around(x)
    size = norms(delta) if isinstance(region, Ball) else delta.abs().amax((1, 2, 3), keepdim=True)
    factor = torch.where(size == 0, size, region.radius / size)
    return region.project_(x + factor * delta)


def fool(model: nn.Module, examples: Examples, budget: Budget, seed: int, threshold: float = THRESHOLD) -> Tensor:
    """DeepFool, its perturbation scaled to the budget."""
    with seeded(seed):
        if isinstance(examples, ImagePairs):
            boundaries = pair_boundaries(model, examples.y, examples.same, threshold)
        else:
            boundaries = class_boundaries(model, examples.labels)
        return into(examples.x, deepfool(boundaries, examples.x), budget)


def official(
    model: nn.Module,
    examples: Examples,
    budget: Budget,
    seed: int,
    threshold: float = THRESHOLD,
    **options: object,
) -> Tensor:
    """AutoAttack within each image's region; options: fields of `AutoAttackSettings`. No two images alike."""
    region = budget.around(examples.x)
    norm = "L2" if isinstance(region, Ball) else "Linf"
    eps = region.radius.flatten().expand(len(examples.x))
    with seeded(seed):
        if isinstance(examples, ImagePairs):
            found = autoattack_pairs(model, examples, eps, threshold=threshold, norm=norm, seed=seed, **options)
        else:
            found = autoattack(model, examples.x, examples.labels, eps, norm=norm, seed=seed, **options)
    return region.project_(found.images.clone())


def evolve(
    model: nn.Module,
    examples: Examples,
    budget: Budget,
    seed: int,
    settings: Evolution = SHORT,
    threshold: float = THRESHOLD,
) -> Tensor:
    """The decision-based evolutionary attack, its end brought into the budget: strong where it came that near.

    Impersonation starts from the other person's picture, everything else from noise.
    """
    region = budget.around(examples.x)
    moved = examples.x.clone()
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        for rows, decision, start in _decisions(model, examples, threshold):
            if len(rows):
                found = evolutionary(decision, examples.x[rows], start, settings, generator=generator)
                moved[rows] = found.images
    return region.project_(moved)


def _decisions(model: nn.Module, examples: Examples, threshold: float) -> list[tuple[Tensor, Objective, Tensor | None]]:
    """The rows that are attacked alike, what the attacker is told of them, and where its search starts."""
    if isinstance(examples, LabelledImages):
        labels = class_labels(model, examples.labels)
        decision = Objective((model,), model, lambda logits, labels: logits.argmax(1) != labels, (labels,))
        return [(torch.arange(len(examples)), decision, None)]
    parts = []
    for flag in (True, False):
        rows = (examples.same == flag).nonzero().flatten()
        pairs = examples.rows(rows)
        start = None if flag else pairs.y
        parts.append((rows, pair_decision(model, pairs.y, flag, threshold) if len(rows) else None, start))
    return parts


def transfer(model: nn.Module, examples: Examples, budget: Budget, seed: int, rate: float = 0.01) -> Tensor:
    """DFANet: `model` is the surrogate, which gets dropout of `rate` behind each convolution."""
    return climb(with_dropout(model, rate), examples, budget, seed, settings=DFANET.but(step=QUARTER))


GRADIENT = {  # name: (settings, knowledge, what it is)
    "FGSM": (FGSM, "white box", "One step along the sign of the gradient."),
    "BIM": (BIM.but(step=QUARTER), "white box", "Ten sign steps from the image itself (I-FGSM)."),
    "PGD": (PGD.but(step=QUARTER), "white box", "Ten sign steps from a random start."),
    "PGD-L2": (PGD_L2, "white box", "Ten steps along the gradient itself from a random start."),
    "MIFGSM": (MIFGSM.but(step=QUARTER), "white box", "Ten sign steps with momentum."),
    "NIFGSM": (NIFGSM.but(step=QUARTER), "white box", "Momentum with Nesterov's look ahead."),
    "SINIFGSM": (SINIFGSM.but(step=QUARTER), "white box", "Nesterov's momentum, averaged over five scales."),
    "DIFGSM": (DIFGSM.but(step=QUARTER), "white box", "Sign steps through random resizing and padding."),
    "EOT-PGD": (EOTPGD.but(step=QUARTER, eot=20), "adaptive", "PGD on the mean gradient of twenty draws."),
    "random search": (RANDOM, "black box", "The best of a hundred random points of the region."),
}
OFFICIAL = {
    "AutoAttack": ("standard", "white box", "The official ensemble of four attacks."),
    "AutoAttack-rand": ("rand", "adaptive", "The official ensemble for models that draw, over twenty draws."),
    "Square": (("square",), "black box", "AutoAttack's score-based random search."),
}


def _register_all() -> None:
    for kind in KINDS:
        for name, (settings, knowledge, says) in GRADIENT.items():
            register(NamedAttack(name, kind, knowledge, says, partial(climb, settings=settings)))
        register(NamedAttack("DeepFool", kind, "white box", "To the nearest boundary, scaled to the budget.", fool))
        for name, (version, knowledge, says) in OFFICIAL.items():
            register(NamedAttack(name, kind, knowledge, says, partial(official, version=version)))
        told = "A search that is told decisions alone, its end brought into the budget."
        register(NamedAttack("evolutionary", kind, "black box", told, evolve))
        register(NamedAttack("DFANet", kind, "transfer", "Momentum through a surrogate thinned at random.", transfer))
    only = "classifier"
    trades = partial(climb, settings=TPGD.but(step=QUARTER), loss="kl")
    register(NamedAttack("TPGD", only, "white box", "Ten sign steps away from the clean prediction (TRADES).", trades))
    margins = partial(climb, settings=PGD.but(step=QUARTER, keep="best"), loss="margin")
    register(NamedAttack("PGD margin", only, "white box", "PGD on the margin of logits, the best image kept.", margins))


_register_all()
