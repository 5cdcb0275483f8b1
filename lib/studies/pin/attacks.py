"""PIN's two protocols (section V): offline attacks the bare recogniser, online attacks recogniser and defence as one.

Only the first image of a pair is attacked; the defence, when there is one, sees both.
"""

import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from lib.attacks.budgets import Budget, Intensity, rescale_to_intensity
from lib.attacks.deepfool import deepfool, pair_boundaries
from lib.attacks.embeddings import verification
from lib.attacks.loop import in_batches
from lib.attacks.registry import NamedAttack, register
from lib.attacks.settings import FGSM, PGD
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError, choices
from lib.models import Recogniser, similarity
from lib.seeds import seeded
from lib.studies.pin.learnable_pca import LearnablePCA

PIN_INTENSITY = 0.04  # ||perturbation|| / ||image||, of noise and attacks alike (PIN, section IV-C)

# PIN states neither step size nor norm of its PGD; a quarter of the radius is the usual step for ten steps, and sign
# steps in a box the usual norm. "PGD-L2" steps along the gradient itself in the ball of the same intensity. "best" is
# the worst case that an image met.
TEN_STEPS = PGD.but(step="eps/4", steps=10, keep="best")
SETTINGS = {"FGSM": (FGSM, "linf"), "PGD": (TEN_STEPS, "linf"), "PGD-L2": (TEN_STEPS.but(rule="l2"), "l2")}
PIN_ATTACKS = (*SETTINGS, "DeepFool")
TABLE_ATTACKS = ("FGSM", "DeepFool", "PGD-L2")  # of the source's tables; its "PGD" is most likely the L2 one, page 02


def attack_pairs(
    attack: str,
    model: Recogniser,
    pairs: ImagePairs,
    intensity: float = PIN_INTENSITY,
    threshold: float = 0.3,
    seed: int = 0,
) -> Tensor:
    """Adversarial versions (P, C, H, W) of the first images of verification pairs, at exactly PIN's intensity or below.

    attack: 'FGSM', 'PGD' and 'PGD-L2' (10 steps) or 'DeepFool' (scaled to the intensity). A genuine pair's similarity
    is lowered, an impostor pair's raised. threshold: the cosine at which DeepFool's decision lies. Deterministic for a
    seed on one kind of machine, for models that draw (PIN), too.
    """
    if attack not in PIN_ATTACKS:
        raise WorkbookError(f"There is no attack '{attack}' here: choose one of {choices(PIN_ATTACKS)}.")
    return _run(model, pairs, Intensity(intensity), seed, attack, threshold)


def _run(model: nn.Module, pairs: ImagePairs, budget: Budget, seed: int, attack: str, threshold: float = 0.3) -> Tensor:
    """The attack within the budget; an intensity bounds the norm that is the attack's own."""
    with seeded(seed):
        if attack == "DeepFool":
            goal = pair_boundaries(model, pairs.y, pairs.same, threshold)
            return rescale_to_intensity(pairs.x, deepfool(goal, pairs.x), budget)
        settings, norm = SETTINGS[attack]
        goal = verification(model, pairs.y, pairs.same)
        generator = torch.Generator().manual_seed(seed)
        bound = replace(budget, norm=norm) if isinstance(budget, Intensity) else budget
        return in_batches(goal, pairs.x, bound, settings, generator=generator)


def _run_bpda(model: nn.Module, pairs: ImagePairs, budget: Budget, seed: int, attack: str) -> Tensor:
    """The attack through the mask thresholded at a half, in the agent's place (PIN, Table XIV)."""
    through = copy.deepcopy(model)
    for part in through.modules():
        if isinstance(part, LearnablePCA):
            part.surrogate = "bpda"
    return _run(through, pairs, budget, seed, attack)


def clean_scores(judges: dict[str, nn.Module], pairs: ImagePairs) -> dict[str, Tensor]:
    """Scores (P,) of each system on clean pairs."""
    return {name: similarity(judge, pairs.x, pairs.y) for name, judge in judges.items()}


for _name in PIN_ATTACKS:
    register(
        NamedAttack(
            f"PIN {_name}",
            "recogniser",
            "white box",
            f"{_name} as PIN's tables have it, within an intensity.",
            partial(_run, attack=_name),
        )
    )
register(
    NamedAttack(
        "PIN PGD-L2, BPDA",
        "recogniser",
        "adaptive",
        "PGD-L2 through PIN's masks thresholded at a half.",
        partial(_run_bpda, attack="PGD-L2"),
    )
)
