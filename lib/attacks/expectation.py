"""Gradient attacks on verification pairs, in expectation over what a random recogniser draws."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.attacks.autoattack import AutoAttackSettings
from lib.attacks.budgets import Budget
from lib.attacks.embeddings import verification
from lib.attacks.loop import in_batches
from lib.attacks.objectives import Objective, reference_embeddings
from lib.attacks.settings import Settings
from lib.data.examples import ImagePairs
from lib.seeds import seeded


@dataclass(frozen=True)
class Threat:
    """What a system is measured under: an attack's settings and its budget."""

    settings: Settings | AutoAttackSettings
    budget: Budget


def expected_verification(model: nn.Module, pairs: ImagePairs, draws: int = 1) -> Objective:
    """The verification objective against embeddings of `pairs.y` averaged over a random model's `draws`.

    The other image of a pair passes the defence too: an attacker who averages gradients averages its embedding as well.
    """
    anchors = sum(reference_embeddings(model, pairs.y) for _ in range(draws))
    return verification(model, F.normalize(anchors, dim=1), pairs.same)


def ascend_pairs(model: nn.Module, pairs: ImagePairs, threat: Threat, seed: int = 0) -> Tensor:
    """Attacked first images (P, C, H, W); what model and attack draw follows from `seed`."""
    with seeded(seed):
        goal = expected_verification(model, pairs, threat.settings.eot)
        generator = torch.Generator().manual_seed(seed)
        return in_batches(goal, pairs.x, threat.budget, threat.settings, generator=generator)
