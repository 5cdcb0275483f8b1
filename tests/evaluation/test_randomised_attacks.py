"""Long attacks against the one loop, the worst pick against a slow one, AutoAttack and gradients on a tiny model."""

import pytest
import torch

from lib.attacks import (
    FGSM,
    PGD,
    AutoAttackSettings,
    Intensity,
    Threat,
    ascend,
    intensity_of,
    verification,
)
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from lib.evaluation.randomised_attacks import (
    autoattack_scores,
    broken,
    distinct_rows,
    gradient_norms,
    images_at_steps,
    push,
    scores_at_steps,
    scores_under,
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
    return ImagePairs(x, y, same)


@pytest.mark.parametrize(("rule", "norm"), [("sign", "linf"), ("l2", "l2")])
def test_images_at_steps_are_those_of_shorter_attacks(pairs, rule, norm):
    x = pairs.x
    budget, settings = Intensity(0.04, norm=norm), SIGN.but(rule=rule)
    goal = verification(Tiny(), pairs.y, pairs.same)
    found = images_at_steps(goal, x, Threat(settings, budget), [1, 4, 9])
    for stop, images in zip([1, 4, 9], found, strict=True):
        assert torch.allclose(images, ascend(goal, x, budget, settings.but(steps=stop)), atol=1e-6)
        assert intensity_of(x, images).max() <= 0.04 + 1e-5


def test_a_long_attack_with_a_random_start_stays_around_the_clean_image(pairs):
    threat = Threat(PGD.but(rule="l2", step="eps"), Intensity(0.02, norm="l2"))
    found = images_at_steps(verification(Tiny(), pairs.y, pairs.same), pairs.x, threat, [2, 20])
    assert all(intensity_of(pairs.x, images).max() <= 0.02 + 1e-5 for images in found)


def test_images_at_steps_refuse_what_has_none(pairs):
    goal = verification(Tiny(), pairs.y, pairs.same)
    for settings, stops in [(SIGN, [5, 2]), (SIGN, []), (SIGN.but(restarts=2), [1]), (SIGN.but(keep="best"), [1])]:
        with pytest.raises(WorkbookError, match="Images at steps take"):
            images_at_steps(goal, pairs.x, Threat(settings, Intensity(0.04)), stops)


def test_scores_are_of_fresh_draws_and_repeatable(pairs):
    model, budget = Tiny(noise=0.02), Intensity(0.04)
    before = torch.random.get_rng_state()
    one, two = (scores_under(model, model, pairs, Threat(FGSM.but(eot=3), budget), 4, seed=2) for _ in range(2))
    assert torch.equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.shape == (4, 6)
    assert not torch.equal(one[0], one[1])
    walked = scores_at_steps(model, pairs, Threat(SIGN, budget), [1, 3], draws=2)
    assert walked.shape == (2, 2, 6)
    clean = similarity(Tiny(), pairs.x, pairs.y)[None]
    assert (push(walked[1], clean, pairs.same) > 0).all()


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


def test_gradients_that_are_zero_are_seen(pairs):
    assert (gradient_norms(Tiny(), pairs, batch=4) > 0).all()
    assert (gradient_norms(Tiny(blind=True), pairs) == 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_autoattack_breaks_pairs_within_the_budget(pairs, norm):
    clean = similarity(Tiny(), pairs.x, pairs.y)
    budget = Intensity(0.5, norm=norm)
    scores = autoattack_scores(Tiny(), pairs, Threat(AutoAttackSettings(iterations=10), budget), 0.0)
    assert not broken(clean[None], pairs.same, 0.0).any()
    assert broken(scores, pairs.same, 0.0).float().mean() >= 0.5
    quick = Threat(AutoAttackSettings(iterations=2), budget)
    assert autoattack_scores(Tiny(0.01), pairs, quick, 0.0, draws=2).shape == (2, 6)


def test_rows_are_distinct_and_of_both_kinds():
    first = torch.tensor([5, 5, 7, 8, 9, 5, 7, 1, 2, 2])
    same = torch.arange(10) < 5
    rows = distinct_rows(first, same, 6)
    assert len(first[rows].unique()) == len(rows) == 4  # only 1 and 2 are left for the impostor pairs
    assert same[rows].sum() == 2
    with pytest.raises(WorkbookError, match="of both kinds"):
        distinct_rows(first[:5], same[:5], 4)
