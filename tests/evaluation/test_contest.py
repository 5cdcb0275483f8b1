"""Every defence against every attack: scores, their joining, the mean over draws."""

import pytest
import torch

from lib.defences import Defended
from lib.evaluation.contest import Contest, joined, mean_over_draws, scores_of_all, sum_of_errors
from lib.models import GrayInput, similarity
from lib.models.small import SmallRecogniser


class Blur(torch.nn.Module):
    """A defence that anyone can differentiate."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


class Flicker(torch.nn.Module):
    """A defence that draws."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


def plainly(function, *args, **settings):
    return function(*args, **settings)


@pytest.fixture(scope="module")
def contest():
    torch.manual_seed(0)
    x, y = torch.rand(6, 1, 112, 112), torch.rand(6, 1, 112, 112)
    same = torch.arange(6) < 3
    return Contest(plainly, x, y, same, (x, y, same), {"flicker": 3})


@pytest.fixture(scope="module")
def systems():
    torch.manual_seed(0)
    bare = GrayInput(SmallRecogniser().eval().requires_grad_(False)).eval()
    return {"none": bare, "blur": Defended(bare, Blur()).eval(), "flicker": Defended(bare, Flicker()).eval()}


def test_offline_scores_are_those_of_one_attack_on_the_bare_model(contest, systems):
    scores = contest.offline(systems["none"], systems, ("FGSM",))
    assert {name: tuple(part.shape) for name, part in scores["clean"].items()} == {
        "none": (1, 6),
        "blur": (1, 6),
        "flicker": (3, 6),
    }
    assert torch.allclose(scores["clean"]["blur"][0], similarity(systems["blur"], contest.x, contest.y), atol=1e-5)
    hit = contest.attacked(systems["none"], ("FGSM",))["FGSM"]
    assert torch.allclose(scores["offline / FGSM"]["blur"][0], similarity(systems["blur"], hit, contest.y), atol=1e-5)
    better = scores["offline / FGSM"]["none"][0] - scores["clean"]["none"][0]
    assert (better[contest.same] < 0).all()
    assert (better[~contest.same] > 0).all()


def test_online_attacks_go_through_the_system_and_draws_differ(contest, systems):
    scores = contest.online({"flicker": systems["flicker"]}, ("FGSM",))["online / FGSM"]["flicker"]
    assert scores.shape == (3, 6)
    assert not torch.equal(scores[0], scores[1])
    again = contest.online({"flicker": systems["flicker"]}, ("FGSM",))["online / FGSM"]["flicker"]
    assert torch.equal(scores, again)


def test_thin_keeps_every_second_pair(contest):
    assert torch.equal(contest.thin(2).x, contest.x[::2])
    assert contest.thin(2).draws == contest.draws


def test_joined_puts_pairs_side_by_side():
    part = {"clean": {"none": torch.zeros(2, 3)}}
    assert joined([part, part])["clean"]["none"].shape == (2, 6)


def test_scores_of_all_embeds_every_version(contest, systems):
    found = scores_of_all(systems["none"], {"a": contest.x, "b": contest.y}, contest.y)
    assert torch.allclose(found["b"], torch.ones(1, 6), atol=1e-5)


def test_sum_of_errors_is_zero_for_a_perfect_system(systems):
    x = torch.rand(4, 1, 112, 112)
    y = torch.cat([x[:2], 1 - x[2:]])
    same = torch.tensor([True, True, False, False])
    assert sum_of_errors(systems["none"], (x, y, same), x) == 0


def test_mean_over_draws_is_students():
    mean, (low, high) = mean_over_draws([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.776 * (2.5 / 5) ** 0.5
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half))
