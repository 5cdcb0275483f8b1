"""Judging random defences: seeds that leave no trace, draws pooled under one threshold."""

import pytest
import torch
from torch import nn

from lib.data.examples import ImagePairs
from lib.defences import Defended
from lib.evaluation.intervals import pair_bootstrap, pair_difference
from lib.evaluation.randomised_defences import (
    Trials,
    judged,
    scores_over_draws,
    threshold_of,
)
from lib.evaluation.verification import auc, best_threshold, eer
from lib.models import from_module, similarity
from lib.studies.pin.attacks import attack_pairs

PAIRS = 40
SAME = torch.arange(PAIRS) < 20
PEOPLE = torch.stack([torch.arange(PAIRS) % 10, (torch.arange(PAIRS) + ~SAME) % 10], 1)


class Jitter(nn.Module):
    """A random defence: fresh noise at each pass, in eval mode too."""

    def forward(self, x):
        return x + 0.3 * torch.randn_like(x)


@pytest.fixture(scope="module")
def fixed():
    return from_module(nn.Flatten(), size=(4, 4), mean=0.5, std=0.5, channels=1).eval()


@pytest.fixture(scope="module")
def noisy(fixed):
    return Defended(fixed, Jitter())


@pytest.fixture(scope="module")
def images():
    draw = torch.Generator().manual_seed(0)
    x, other = torch.rand(2, PAIRS, 1, 4, 4, generator=draw)
    return x, torch.where(SAME.view(-1, 1, 1, 1), 0.6 * x + 0.4 * other, other)


def some_scores(draws, seed=0):
    return torch.randn(draws, PAIRS, generator=torch.Generator().manual_seed(seed)) + SAME


def test_scores_one_row_a_draw(fixed, noisy, images):
    scores = scores_over_draws(noisy, *images, draws=3, seed=1)
    assert scores.shape == (3, PAIRS)
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores, scores_over_draws(noisy, *images, draws=3, seed=1))
    assert not torch.equal(scores, scores_over_draws(noisy, *images, draws=3, seed=2))
    assert torch.equal(scores_over_draws(fixed, *images), similarity(fixed, *images)[None])
    both = judged({"fixed": fixed, "noisy": noisy}, {"noisy": 3}, *images, seed=1)
    assert {name: len(rows) for name, rows in both.items()} == {"fixed": 1, "noisy": 3}
    assert torch.equal(both["noisy"], scores)


@pytest.mark.parametrize("attack", ["FGSM", "DeepFool", "PGD-L2"])
def test_attacks_on_a_random_model_repeat(attack, noisy, images):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = [attack_pairs(attack, noisy, ImagePairs(*images, SAME), 0.2, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_threshold_of_held_out_pairs(fixed, noisy, images):
    held_out = ImagePairs(*images, SAME)
    assert threshold_of(fixed, held_out) == best_threshold(similarity(fixed, *images), SAME)
    assert threshold_of(noisy, held_out, seed=2) == threshold_of(noisy, held_out, seed=2)


@pytest.mark.parametrize("statistic", [eer, auc])
def test_a_single_draw_is_the_plain_bootstrap(statistic):
    scores = some_scores(1)
    wanted = pair_bootstrap(scores[0], SAME, PEOPLE, statistic, seed=5).scaled(100)
    assert Trials(SAME, PEOPLE, seed=5).rate(scores, statistic) == wanted


def test_several_draws_share_one_threshold():
    """One draw moved far up must cost: each draw alone would still part its pairs."""
    trials = Trials(SAME, PEOPLE)
    parted = torch.where(SAME, 1.0, -1.0)
    assert trials.rate(parted[None]).estimate == 0
    moved = torch.stack([parted, parted + 2])  # the first draw's genuine pairs tie with the second's impostors
    assert trials.rate(moved).estimate == pytest.approx(100 * eer(moved.flatten(), SAME.repeat(2)))
    assert trials.rate(moved).estimate > 20


def test_repeating_a_draw_changes_no_interval():
    """Draws of one person stay together: more draws of the same scores are no more evidence."""
    trials, scores = Trials(SAME, PEOPLE), some_scores(1)
    once, thrice = trials.rate(scores), trials.rate(scores.expand(3, -1))
    for name in ("estimate", "low", "high", "n"):
        assert getattr(thrice, name) == pytest.approx(getattr(once, name), abs=1e-9)


def test_pooled_repeats_a_fixed_model_s_scores():
    trials, several = Trials(SAME, PEOPLE), some_scores(3)
    assert torch.equal(trials.pooled(several[:1], 3), several[0].repeat(3))
    assert torch.equal(trials.pooled(several, 3), torch.cat([several[0], several[1], several[2]]))


def test_the_gap_of_a_random_and_a_fixed_model():
    trials, random, fixed = Trials(SAME, PEOPLE, seed=2), some_scores(3), some_scores(1, seed=1)
    wanted = pair_difference(random.flatten(), fixed[0].repeat(3), SAME.repeat(3), PEOPLE.repeat(3, 1), seed=2).scaled(
        100
    )
    assert trials.gap(random, fixed) == wanted
    assert trials.gap(random, fixed).estimate == pytest.approx(
        trials.rate(random).estimate - trials.rate(fixed).estimate, abs=1e-9
    )
    nothing = trials.gap(fixed, fixed)
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)


def test_the_worst_over_attacks_by_hand():
    trials = Trials(torch.tensor([True, False, True]), torch.tensor([[0, 0], [0, 1], [1, 1]]))
    first = torch.tensor([[0.8, 0.1, 0.5], [0.6, 0.3, 0.1]])  # two draws: means 0.7, 0.2, 0.3
    second = torch.tensor([[0.9, 0.4, 0.2]])
    torch.testing.assert_close(trials.worst(first, second).float(), torch.tensor([[0.7, 0.4, 0.2]]))


def test_the_trials_of_some_rows_judge_them_as_trials_of_their_own():
    trials, scores = Trials(SAME, PEOPLE, seed=3), some_scores(2)
    rows = torch.arange(0, len(SAME), 2)
    assert trials.rows(rows).rate(scores[:, rows]) == Trials(SAME[rows], PEOPLE[rows], 3).rate(scores[:, rows])
    assert trials.rows(rows).rate(scores[:, rows]) != Trials(SAME[1::2], PEOPLE[1::2], 3).rate(scores[:, 1::2])
