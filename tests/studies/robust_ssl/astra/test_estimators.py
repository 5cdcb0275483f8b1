"""Policy gradients against autograd and against what they estimate; the heads' correlations, tied and not."""

import pytest
import torch

from lib.book.ledger import judge
from lib.errors import WorkbookError
from lib.evaluation import bootstrap
from lib.papers import registered_claim
from lib.studies.robust_ssl.astra.estimators import (
    CREDITED,
    estimates,
    first_view_choices,
    head_correlations,
    noise,
    noise_ratio,
    scores_of,
)
from lib.studies.robust_ssl.astra.strategy import RELEASED, draw_actions, log_probability
from tests.studies.robust_ssl.astra.small import RANGES, draw


def logits(n=8, ranges=RANGES):
    generator = draw()
    return tuple(torch.randn(n, size, generator=generator) for size in ranges.sizes)


def verdict(name, found):
    return judge((found.low, found.high), registered_claim(name))


def test_scores_against_autograd():
    given = tuple(part.requires_grad_() for part in logits())
    actions = draw_actions(tuple(part.detach() for part in given), draw(), RANGES)
    gradients = torch.autograd.grad(log_probability(given, actions).sum(), given)
    assert torch.allclose(scores_of(given, actions), torch.cat(gradients, 1), atol=1e-6)


def bandit(draws=4000, n=6, own=1.0, common=5.0):
    """Views whose reward is 1 where the first of two entries is drawn, above a large common part."""
    chosen = torch.rand(draws, n, generator=draw()) < 0.5
    scores = torch.stack([chosen.float() - 0.5, 0.5 - chosen.float()], 2)
    return scores, common + own * chosen.float()


@pytest.mark.parametrize("credit", CREDITED)
def test_every_estimate_has_the_same_mean_where_views_are_alone(credit):
    """The mean reward's gradient to the first bias: p (1 - p) = 1/4 for each view, over n views."""
    found = estimates(*bandit(), credit)
    if credit.startswith("batch"):
        assert found.mean(0)[0].item() == pytest.approx(0.25, abs=4 * (found[:, 0].std() / 4000**0.5).item())
    else:
        assert found.mean(0)[0].item() == pytest.approx(0.25, abs=0.05)


def test_baselines_and_own_credit_lower_the_noise():
    scores, rewards = bandit(400)
    sizes = [noise(estimates(scores, rewards, credit)).item() for credit in CREDITED]
    assert sizes[0] > sizes[1] > sizes[3]
    assert sizes[0] > sizes[2] > sizes[3]


def test_unknown_credit_is_refused():
    with pytest.raises(WorkbookError, match="Credit is given by"):
        estimates(*bandit(3), "luck")


def test_own_credit_is_far_less_noisy_in_a_large_batch():
    scores, rewards = bandit(100, 40)
    released, ours = (estimates(scores, rewards, credit) for credit in ("batch", "view with baseline"))
    assert noise_ratio(released, ours) > 100


def left_to_baseline(common):
    scores, rewards = bandit(100, 20, common=common)
    found = [estimates(scores, rewards, credit) for credit in ("batch", "batch with baseline")]
    return bootstrap(noise_ratio, *found, resamples=100)


def test_the_critique_of_the_clean_loss_can_hold_and_fail():
    assert verdict("robust_ssl-c19f", left_to_baseline(5.0)) == "supported"
    assert verdict("robust_ssl-c19f", left_to_baseline(-0.5)) == "refuted"  # the clean loss was the best baseline


def even(n=512):
    return tuple(torch.zeros(n, size) for size in RELEASED.sizes)


def test_one_number_for_all_heads_ties_them_and_seeds_of_their_own_do_not():
    tied = head_correlations(even(), 200, "one number")
    free = head_correlations(even(), 200, "independent")
    assert tied.min() > 0.9
    assert free.mean(0).abs().max() < 0.05
    middle = [bootstrap(torch.mean, found[:, 0], resamples=100) for found in (tied, free)]
    assert [verdict("robust_ssl-c19d", found) for found in middle] == ["supported", "refuted"]
    assert [verdict("ours-19c", found) for found in middle] == ["failed", "passed"]
    with pytest.raises(WorkbookError, match="drawn released"):
        head_correlations(even(4), 1, "by coin")


def test_one_seed_ties_the_first_view_alone():
    """Rows of 13 and 12 entries: the first view shares twelve numbers, the hundredth none."""
    first = first_view_choices(even(128), 200)
    assert torch.corrcoef(first.T)[0, 1] > 0.6
    assert head_correlations(even(), 40, "released")[:, 0].mean().abs() < 0.05
