"""The inner attack of self-adversarial training: how strong it is, and how it climbs any objective."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.attacks.budgets import Linf, Size
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.objectives import Objective
from lib.attacks.settings import PGD
from lib.models.dual_norm import route


@dataclass(frozen=True)
class Strength:
    """How far the inner attack goes: one number for all views, or a tensor (n,) with one for each (ASTrA).

    eps, step: sizes in units of [0,1]; steps: of PGD from a uniform start.
    """

    eps: Size = "8/255"
    step: Size = "2/255"
    steps: int | Tensor = 5


def climb(
    model: nn.Module,
    objective: Objective,
    views: Tensor,
    strength: Strength,
    generator: torch.Generator,
) -> Tensor:
    """Views (n, C, H, W) moved uphill on `objective` through the adversarial route of `model`, in eval mode."""
    settings = PGD.but(steps=strength.steps, step=strength.step)
    with route(model, "adversarial"):
        return ascend(objective, views, Linf(strength.eps), settings, generator=generator)


def attack_views(
    model: nn.Module, both: Tensor, strength: Strength, generator: torch.Generator, temperature: float = 0.5
) -> Tensor:
    """ACL's attack: both views (2n, C, H, W) of n pictures are moved, against each other, on NT-Xent."""
    return climb(model, nt_xent(model, None, temperature), both, strength, generator)
