"""Small networks and pictures for the tests of the joint-embedding families."""

import torch

from lib.studies.robust_ssl.families import METHODS, REMOVALS, Settings
from lib.studies.robust_ssl.networks import Sizes
from lib.studies.robust_ssl.training import Plan

SIZES = Sizes(width=2, hidden=8, dim=6, prototypes=5)
SETTINGS = Settings(queue=20, small=1, momentum=0.9)
CASES = [*((name, None) for name in METHODS), *REMOVALS]


def pictures(count=12, seed=0):
    return (255 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))).to(torch.uint8)


def plan(method, without=None):
    return Plan(method, SIZES, SETTINGS, without=without)


def prepared(method, without=None):
    """A network, its family's loss, and two views of eight pictures."""
    made = plan(method, without)
    model = made.model().train()
    first, second = pictures(8, 1).float() / 255, pictures(8, 2).float() / 255
    return model, made.loss(pictures(), model), first, second
