"""Small networks and pictures for the tests of self-adversarial training."""

import torch

from lib.studies.robust_ssl.adversarial.methods import Aids
from lib.studies.robust_ssl.adversarial.networks import RoutedEncoder
from lib.studies.robust_ssl.adversarial.strength import Strength
from lib.studies.robust_ssl.adversarial.training import SELF_AT, SelfATPlan
from lib.studies.robust_ssl.networks import Sizes

SIZES = Sizes(width=2, hidden=8, dim=6)
COUNT = 12


def pictures(count=COUNT, seed=0):
    return (255 * torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed))).to(torch.uint8)


def aids(count=COUNT):
    torch.manual_seed(3)
    pseudo = torch.stack([torch.arange(count) % 2, torch.arange(count) % 3], 1)
    return Aids(RoutedEncoder(SIZES, 1), pseudo)


def plan(method, **changes):
    """A plan with one step of attack, and other options changed."""
    kind = SELF_AT[method]
    options = kind.Options(strength=Strength("8/255", "4/255", 1), **changes)
    return SelfATPlan(kind, SIZES, options, aids())


def prepared(method, **changes):
    """A network in training mode and its loss of twelve pictures."""
    made = plan(method, **changes)
    model = made.model().train()
    return model, made.loss(pictures(), model).train()


def stepped(method, seed=0, **changes):
    """The metrics of one step, with gradients taken, and its network."""
    model, loss = prepared(method, **changes)
    found = loss(model, torch.arange(8), torch.Generator().manual_seed(seed))
    found["loss"].backward()
    return found, model, loss
