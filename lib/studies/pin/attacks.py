"""PIN's two protocols (section V): offline attacks the bare recogniser, online attacks recogniser and defence as one.

Only the first image of a pair is attacked; the defence, when there is one, sees both.
"""

import torch
from torch import Tensor, nn

from lib.attacks import FGSM, PGD, Intensity, deepfool, in_batches, pair_boundaries, rescale_to_intensity, verification
from lib.errors import WorkbookError, choices
from lib.models import Recogniser, similarity
from lib.seeds import seeded

PIN_INTENSITY = 0.04  # ||perturbation|| / ||image||, of noise and attacks alike (PIN, section IV-C)

# PIN states neither step size nor norm of its PGD; a quarter of the radius is the usual step for ten steps, and sign
# steps in a box the usual norm. "PGD-L2" walks along the gradient itself in the ball of the same intensity. "best" is
# the worst case that an image met.
TEN_STEPS = PGD.but(step="eps/4", steps=10, keep="best")
SETTINGS = {"FGSM": (FGSM, "linf"), "PGD": (TEN_STEPS, "linf"), "PGD-L2": (TEN_STEPS.but(rule="l2"), "l2")}
ATTACKS = (*SETTINGS, "DeepFool")


def attack_pairs(
    name: str,
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    intensity: float = PIN_INTENSITY,
    threshold: float = 0.3,
    seed: int = 0,
    batch: int | None = None,
) -> Tensor:
    """Adversarial versions (P, C, H, W) of the first images of verification pairs, at exactly PIN's intensity or below.

    name: 'FGSM', 'PGD' and 'PGD-L2' (10 steps) or 'DeepFool' (scaled to the intensity). x, y (P, C, H, W) in [0,1];
    same (P,): a genuine pair's similarity is lowered, an impostor pair's raised. threshold: the cosine at which
    DeepFool's decision lies. Deterministic for a seed on one kind of machine, for models that draw (PIN), too.
    """
    if name not in ATTACKS:
        raise WorkbookError(f"There is no attack '{name}' here: choose one of {choices(ATTACKS)}.")
    with seeded(seed):
        if name == "DeepFool":
            goal = pair_boundaries(model, y, same, threshold)
            return rescale_to_intensity(x, deepfool(goal, x, batch=batch), Intensity(intensity))
        goal = verification(model, y, same)
        generator = torch.Generator().manual_seed(seed)
        settings, norm = SETTINGS[name]
        return in_batches(goal, x, Intensity(intensity, norm=norm), settings, batch=batch, generator=generator)


def attacked_scores(
    attacked: Recogniser,
    judges: dict[str, nn.Module],
    attack: str,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    intensity: float = PIN_INTENSITY,
    threshold: float = 0.3,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Scores (P,) that each judging system gives to pairs whose first image was attacked on `attacked`.

    Online: the judge is the attacked system. Offline: the judge is the defended one, the attacked the bare one.
    """
    adversarial = attack_pairs(attack, attacked, x, y, same, intensity, threshold, seed)
    return {name: similarity(judge, adversarial, y) for name, judge in judges.items()}


def clean_scores(judges: dict[str, nn.Module], x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Scores (P,) of each system on clean pairs."""
    return {name: similarity(judge, x, y) for name, judge in judges.items()}
