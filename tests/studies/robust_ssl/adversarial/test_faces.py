"""Faces: pairs at the encoder's side, scores under attack, and the check list."""

import pytest
import torch

from lib.data import load
from lib.studies.pages import pairs_for
from lib.studies.robust_ssl.adversarial.faces import FaceFeatures, FaceJudges, checked, eer_of, face_pairs, verified
from lib.studies.robust_ssl.adversarial.networks import RoutedEncoder
from tests.studies.robust_ssl.adversarial.small import SIZES

JUDGES = FaceJudges(steps=2, draws=2)


@pytest.fixture(scope="module")
def pairs():
    images = load("procedural", people=12, per_person=4)
    return face_pairs(images, pairs_for(images, 24), 16)


@pytest.fixture(scope="module")
def found(pairs):
    torch.manual_seed(0)
    model = FaceFeatures(RoutedEncoder(SIZES, 2).eval(), (255 * pairs.pictures[:, 0]).byte())
    return verified(model, pairs, JUDGES)


def test_pairs_hold_both_pictures(pairs):
    assert pairs.pictures.shape == (24, 2, 3, 16, 16)
    assert torch.equal(pairs.people[:, 0] == pairs.people[:, 1], pairs.same)


def test_an_attack_moves_scores_the_wrong_way(pairs, found):
    moved = found["steps 4"] - found["clean"]
    assert moved[pairs.same].mean() < 0 < moved[~pairs.same].mean()
    assert {"clean", "one step", "random", "zero", "bound 64", "steps 1", "steps 4"} <= set(found)
    assert eer_of(found["steps 4"], pairs).estimate >= eer_of(found["clean"], pairs).estimate


def test_the_check_list_is_complete_but_for_what_needs_a_defence(pairs, found):
    names = {check.name for check in checked(found, pairs, JUDGES)}
    assert len(names) == 8
    assert "online at least offline" not in names


def test_lengths_are_a_quarter_and_twice():
    assert FaceJudges().lengths == (5, 20, 40)
    assert FaceJudges(1).lengths == (1, 1, 2)
