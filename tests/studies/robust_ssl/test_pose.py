"""Verification across poses: scores by hand, and the claim on scores made to hold and to fail."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.book.ledger import judge
from lib.data import load
from lib.evaluation import eer
from lib.papers import registered_claim
from lib.studies.robust_ssl import pose
from tests.studies.robust_ssl.small import pictures


class Scaled:
    side, pose_pairs = 16, 8


class Small:
    scale = Scaled()


def made(gap, seed=0, pairs=400, people=80):
    """Scores (2, P) whose genuine ones lie `gap` higher, with same (P,) and people (P, 2)."""
    draw = torch.Generator().manual_seed(seed)
    same = torch.arange(pairs) % 2 == 0
    first = torch.randint(people, (pairs,), generator=draw)
    second = torch.where(same, first, (first + 1 + torch.randint(people - 1, (pairs,), generator=draw)) % people)
    return torch.randn(2, pairs, generator=draw) + gap * same, same, torch.stack([first, second], 1)


def verdict(interval):
    return judge((interval.low, interval.high), registered_claim("robust_ssl-c17c"))


def test_scores_are_cosines_of_standardised_features():
    encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    faces, both = pictures(30), pictures(10, 1).view(5, 2, 3, 16, 16)
    found = pose.pair_scores(encoder, both, faces)["scores"]
    known = encoder(faces.float() / 255)
    one, other = ((encoder(both[:, at].float() / 255) - known.mean(0)) / known.std(0) for at in (0, 1))
    assert torch.allclose(found, F.cosine_similarity(one, other), atol=1e-5)


def test_errors_are_means_over_seeds():
    scores, same, people = made(1.0)
    found = pose.eer_over_seeds(scores, same, people)
    assert found.estimate == pytest.approx(50 * sum(float(eer(row, same)) for row in scores))
    assert found.low < found.estimate < found.high


def test_nothing_gained_supports_and_a_gain_refutes():
    scores, same, people = made(1.0)
    assert verdict(pose.eer_over_seeds(scores + 0.001 * scores**2, same, people, scores)) == "supported"
    better = scores + 4.0 * same
    assert verdict(pose.eer_over_seeds(better, same, people, scores)) == "refuted"
    assert pose.eer_over_seeds(better, same, people, scores).estimate < -20


def test_pairs_come_with_their_pictures_and_people():
    images = load("procedural", people=6, per_person=4)
    pairs, both, people = pose.pose_pairs(Small(), images, "FP")
    assert len(pairs) == len(both) == len(people) == 8
    assert both.shape == (8, 2, 3, 16, 16)
    assert int(pairs.same.sum()) == 4
    assert torch.equal(people[:, 0] == people[:, 1], pairs.same)
    again = pose.pose_pairs(Small(), images, "FF")[1]
    assert torch.equal(both, again)  # a set without protocols


def test_controls_are_the_untrained_encoder_and_the_pixels():
    class Asked:
        scale = type("Scale", (), {"seeds": [0, 1]})()

        def encoder(self, name, seed, domain):
            return (name, seed, domain)

    assert pose.pose_encoders(Asked(), "untrained") == [("untrained", seed, "faces") for seed in (0, 1)]
    assert pose.pose_encoders(Asked(), "raw pixels")[0] == ("raw pixels", 0, "faces")
