"""Small networks, views and strategies for the tests of ASTrA."""

import torch

from lib.models.dual_norm import ROUTES, route
from lib.studies.robust_ssl.adversarial.networks import routed_network
from lib.studies.robust_ssl.adversarial.training import SelfATPlan
from lib.studies.robust_ssl.astra.strategy import Actions, Ranges
from lib.studies.robust_ssl.astra.training import ASTrA, Strategy, StrategyOptions
from lib.studies.robust_ssl.networks import Sizes
from tests.studies.robust_ssl.small import pictures

SIZES = Sizes(width=2, hidden=8, dim=6)
RANGES = Ranges((4, 8, 15), (1, 2, 4), (1, 3))


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def views(count=8, seed=0):
    return torch.rand(count, 3, 16, 16, generator=draw(seed))


def network(norms=2):
    """A network whose batch statistics have settled a little on both routes."""
    model = routed_network(SIZES, norms, 3).train()
    for way in ROUTES:
        with torch.no_grad(), route(model, way):
            for _ in range(10):
                model.embed(views(16, 3))
    return model.eval()


def mixed_actions(count=8):
    index = torch.stack([torch.arange(count) % 3, torch.arange(count) // 2 % 3, torch.arange(count) % 2], 1)
    return Actions(index, RANGES)


def plan(kind=ASTrA, **settings):
    mixed = settings.pop("mixed", 0.5)
    learnt = Strategy(ranges=RANGES, width=2, **settings)
    options = StrategyOptions(learnt=learnt, mixed=mixed) if issubclass(kind, ASTrA) else kind.Options(learnt=learnt)
    return SelfATPlan(kind, SIZES, options)


def prepared(kind=ASTrA, **settings):
    """A network and a method's loss on twelve pictures."""
    made = plan(kind, **settings)
    model = made.model().train()
    return model, made.loss(pictures(), model)
