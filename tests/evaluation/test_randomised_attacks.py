"""Walks against the one loop, the pick of the worst against a slow one, AutoAttack and gradients on a tiny model."""

import pytest
import torch

from lib.attacks import FGSM, PGD, Intensity, ascend, intensity_of, verification
from lib.errors import WorkbookError
from lib.evaluation.randomised_attacks import (
    autoattack_scores,
    broken,
    distinct_rows,
    goal_of,
    gradient_norms,
    push,
    scores_under,
    walk,
    walk_scores,
    worst_on_fresh_draws,
)
from lib.models import Recogniser, similarity

SIGN = PGD.but(step="eps/4", start="clean")


class Tiny(Recogniser):
    """A linear recogniser; `noise` makes it a random one, `blind` one without a gradient."""

    def __init__(self, noise: float = 0.0, blind: bool = False):
        super().__init__("tiny", (8, 8), 0.5, 0.5, channels=1)
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(64, 5, generator=generator))
        self.noise, self.blind = noise, blind

    def features(self, x):
        x = x + self.noise * torch.randn_like(x)
        return (x * 0 + x.detach() if self.blind else x).flatten(1) @ self.weight


@pytest.fixture
def pairs():
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(6, 1, 8, 8, generator=generator)
    same = torch.arange(6) < 3
    y = torch.where(same.view(-1, 1, 1, 1), (x + 0.1 * torch.rand(x.shape, generator=generator)).clamp(0, 1), 1 - x)
    return x, y, same


@pytest.mark.parametrize(("rule", "norm"), [("sign", "linf"), ("l2", "l2")])
def test_a_walk_in_legs_is_the_same_walk(pairs, rule, norm):
    x, y, same = pairs
    budget, settings = Intensity(0.04, norm=norm), SIGN.but(rule=rule)
    goal = verification(Tiny(), y, same)
    found = walk(goal, x, budget, settings, [1, 4, 9])
    for stop, images in zip([1, 4, 9], found, strict=True):
        assert torch.allclose(images, ascend(goal, x, budget, settings.but(steps=stop)), atol=1e-6)
        assert intensity_of(x, images).max() <= 0.04 + 1e-5


def test_a_walk_with_a_random_start_stays_around_the_clean_image(pairs):
    x, y, same = pairs
    found = walk(verification(Tiny(), y, same), x, Intensity(0.02, norm="l2"), PGD.but(rule="l2", step="eps"), [2, 20])
    assert all(intensity_of(x, images).max() <= 0.02 + 1e-5 for images in found)


def test_a_walk_refuses_what_it_cannot_resume(pairs):
    x, y, same = pairs
    goal = verification(Tiny(), y, same)
    for settings, stops in [(SIGN, [5, 2]), (SIGN.but(decay=1.0), [1]), (SIGN.but(keep="best"), [1])]:
        with pytest.raises(WorkbookError, match="A walk takes"):
            walk(goal, x, Intensity(0.04), settings, stops)


def test_scores_are_of_fresh_draws_and_repeatable(pairs):
    model, budget = Tiny(noise=0.02), Intensity(0.04)
    before = torch.random.get_rng_state()
    one, two = (scores_under(model, model, *pairs, budget, FGSM.but(eot=3), 4, seed=2) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.shape == (4, 6)
    assert not torch.equal(one[0], one[1])
    walked = walk_scores(model, *pairs, budget, SIGN, [1, 3], draws=2)
    assert walked.shape == (2, 2, 6)
    clean = similarity(Tiny(), *pairs[:2])[None]
    assert (push(walked[1], clean, pairs[2]) > 0).all()


def test_the_worst_is_picked_by_one_half_of_the_draws_and_scored_by_the_other_half():
    generator = torch.Generator().manual_seed(0)
    attacks = [torch.randn(4, 7, generator=generator) for _ in range(3)]
    same = torch.arange(7) % 2 == 0
    found = worst_on_fresh_draws(same, *attacks)
    for pair in range(7):
        for by, scored in [(slice(2), slice(2, 4)), (slice(2, 4), slice(2))]:
            means = [float(scores[by, pair].mean()) for scores in attacks]
            pick = means.index(min(means) if same[pair] else max(means))
            assert torch.equal(found[scored, pair], attacks[pick][scored, pair])
    fixed = [scores[:1] for scores in attacks]
    expected = torch.where(same, torch.cat(fixed).amin(0), torch.cat(fixed).amax(0))
    assert torch.equal(worst_on_fresh_draws(same, *fixed)[0], expected)


def test_an_honest_pick_removes_the_luck_of_the_draws():
    generator = torch.Generator().manual_seed(0)
    attacks = [torch.randn(2, 2000, generator=generator) for _ in range(20)]  # twenty attacks that do nothing
    same = torch.ones(2000, dtype=torch.bool)
    assert torch.stack(attacks).mean(1).amin(0).mean() < -1
    assert worst_on_fresh_draws(same, *attacks).mean().abs() < 0.1


def test_anchors_are_averaged_over_draws(pairs):
    torch.manual_seed(0)
    steady = goal_of(Tiny(), *pairs[1:]).references[0]
    far, near = ((goal_of(Tiny(noise=0.1), *pairs[1:], draws).references[0] - steady).norm() for draws in (1, 64))
    assert near < far / 2


def test_gradients_that_are_zero_are_seen(pairs):
    assert (gradient_norms(Tiny(), *pairs, batch=4) > 0).all()
    assert (gradient_norms(Tiny(blind=True), *pairs) == 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_breaks_pairs_within_the_budget(pairs, norm):
    x, y, same = pairs
    clean = similarity(Tiny(), x, y)
    budget = Intensity(0.5, norm=norm)
    scores = autoattack_scores(Tiny(), x, y, same, budget, 0.0, iterations=10, random=False)
    assert not broken(clean[None], same, 0.0).any()
    assert broken(scores, same, 0.0).float().mean() >= 0.5
    assert autoattack_scores(Tiny(0.01), x, y, same, budget, 0.0, iterations=2, draws=2).shape == (2, 6)


def test_rows_are_distinct_and_of_both_kinds():
    first = torch.tensor([5, 5, 7, 8, 9, 5, 7, 1, 2, 2])
    same = torch.arange(10) < 5
    rows = distinct_rows(first, same, 6)
    assert len(first[rows].unique()) == len(rows) == 4  # only 1 and 2 are left for the impostor pairs
    assert same[rows].sum() == 2
    with pytest.raises(WorkbookError, match="of both kinds"):
        distinct_rows(first[:5], same[:5], 4)
