"""The third set of statistics is used inside its context alone."""

import torch
from torch import nn

from lib.models.dual_norm import DualBatchNorm1d, route
from lib.models.triple_norm import TripleBatchNorm1d, TripleBatchNorm2d, labelled_route


def test_each_route_moves_its_own_statistics():
    layer = TripleBatchNorm1d(2).train()
    x = torch.randn(8, 2) + 3
    with labelled_route(layer):
        layer(x)
    assert layer.labelled.running_mean.abs().sum() > 0
    assert layer.clean.running_mean.abs().sum() == layer.adversarial.running_mean.abs().sum() == 0
    with route(layer, "adversarial"):
        layer(x)
    assert layer.adversarial.running_mean.abs().sum() > 0
    assert layer.clean.running_mean.abs().sum() == 0


def test_the_old_route_comes_back():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), TripleBatchNorm2d(2), nn.Flatten(), DualBatchNorm1d(8))
    with labelled_route(model):
        assert (model[1].route, model[3].route) == ("labelled", "adversarial")
    assert (model[1].route, model[3].route) == ("clean", "clean")
