"""A tiny recogniser and tiny pairs, and a run that keeps nothing."""

import torch
from torch import nn

from lib.data import Pairs
from lib.data.examples import ImagePairs
from lib.defences import Basis, fit_pca
from lib.models import from_module
from lib.studies.pin.pca_tradeoff import FittedPairs

SIZE = (8, 8)


class Run:
    """A run that keeps nothing."""

    device = torch.device("cpu")

    def kept(self, function, *args, **settings):
        return function(*args, **settings)


def small_model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 12))
    return from_module(body, size=SIZE, channels=1)


def fitted_pairs(faces, components):
    """Ten pairs, the first five genuine, and a basis of random faces."""
    draw = torch.Generator().manual_seed(2)
    learnt = torch.rand(faces, 1, *SIZE, generator=draw)
    x = torch.rand(10, 1, *SIZE, generator=draw)
    y = (x + 0.3 * torch.rand(x.shape, generator=draw)).clamp(0, 1)
    y[5:] = torch.rand(5, 1, *SIZE, generator=draw)
    index = torch.arange(10)
    pairs = ImagePairs(x, y, index < 5)
    return FittedPairs(Pairs(index, index, pairs.same, index), pairs, Basis(**fit_pca(learnt, components)), pairs)
