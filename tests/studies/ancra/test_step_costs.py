"""Passes of a training step against a count by hand."""

import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.ancra.adversarial_training import ANCRATraining
from lib.studies.ancra.awp_sat import AWP, SAT
from lib.studies.ancra.fair_ard import FairARD
from lib.studies.ancra.step_costs import step_passes, step_seconds
from lib.studies.ancra.training import Network

IMAGES = torch.randint(256, (8, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3
PLAIN, GATED = (Network(3, width=4, stem="half", gates=gates) for gates in (0, 2))


def loss(kind=ANCRATraining, **settings):
    return kind(IMAGES, LABELS, steps=4, step="2/255", **settings)


# forward and backward passes in the attack, then in training
BY_HAND = {
    "natural": (loss(base="natural"), PLAIN, (0, 0, 1, 1)),
    "PGD-AT": (loss(base="PGD-AT"), PLAIN, (4, 4, 1, 1)),
    "TRADES": (loss(), PLAIN, (4, 4, 2, 2)),
    "random": (loss(zeta=3.0, negatives="random"), GATED, (4, 4, 3, 3)),
    "hard": (loss(zeta=3.0, negatives="hard"), GATED, (5, 4, 3, 3)),
    "targeted": (loss(zeta=3.0), GATED, (8, 8, 3, 3)),
    "AWP": (AWP(loss()), PLAIN, (4, 4, 4, 4)),
    "SAT": (loss(SAT, warmup=1), PLAIN, (4, 4, 2, 2)),
    "FairARD": (loss(FairARD, teacher=PLAIN.classifier().eval().requires_grad_(False)), PLAIN, (5, 4, 2, 2)),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_passes_are_those_by_hand(name):
    step, network, expected = BY_HAND[name]
    assert tuple(step_passes(step, network, 8).values()) == expected


def test_seconds_are_given_for_each_round():
    found = step_seconds({"natural": BY_HAND["natural"][0]}, {"natural": PLAIN}, 8, rounds=2)
    assert found["natural"].shape == (2,)
    assert found["natural"].gt(0).all()


def test_a_loss_without_a_network_is_refused():
    with pytest.raises(WorkbookError, match="a network for each loss"):
        step_seconds({"natural": BY_HAND["natural"][0]}, {}, 8)
