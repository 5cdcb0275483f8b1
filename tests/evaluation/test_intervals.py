"""Intervals: the draws against slow loops, coverage on made-up data, and agreement with textbook formulas."""

from functools import partial

import pytest
import torch
from scipy.stats import binomtest

from lib.errors import WorkbookError
from lib.evaluation.intervals import (
    bootstrap,
    mean_interval,
    newcombe,
    pair_bootstrap,
    pair_difference,
    rate_difference,
    std_interval,
    wilson,
)
from lib.evaluation.resampling import pair_weights
from lib.evaluation.verification import auc, eer, error_at_threshold, tar_at_far
from lib.interval import Interval

# d' = 2: the EER of two unit normals two apart is the normal's tail beyond 1.
TRUE_EER = 0.15866


def made_pairs(draw, n=150):
    same = torch.arange(2 * n) < n
    return torch.randn(2 * n, generator=draw) + 2.0 * same, same


def test_the_mean_has_its_textbook_interval():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0))
    interval = bootstrap(torch.mean, values, resamples=2000)
    half = 1.96 * values.std().item() / 20
    assert interval.estimate == pytest.approx(values.mean().item())
    assert (interval.low, interval.high) == pytest.approx(
        (interval.estimate - half, interval.estimate + half), abs=0.01
    )
    assert (interval.n, interval.level) == (400, 0.95)


def test_same_seed_same_interval_and_another_differs():
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert bootstrap(torch.mean, values) == bootstrap(torch.mean, values)
    assert bootstrap(torch.mean, values) != bootstrap(torch.mean, values, seed=1)


def test_samples_are_drawn_together():
    a = torch.randn(100, generator=torch.Generator().manual_seed(0))
    paired = bootstrap(lambda x, y: (x - y).mean(), a + 0.5, a)
    assert paired.high - paired.low < 1e-6
    assert paired.estimate == pytest.approx(0.5)


def test_clusters_widen_the_interval_by_their_size():
    centres = torch.randn(40, generator=torch.Generator().manual_seed(0))
    values, people = centres.repeat_interleave(9), torch.arange(40).repeat_interleave(9)
    alone, together = bootstrap(torch.mean, values), bootstrap(torch.mean, values, clusters=people)
    assert together.n == 40
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(3, rel=0.15)


def test_clusters_may_come_in_any_order():
    values = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    interval = bootstrap(torch.mean, values, clusters=torch.tensor([7, 3, 7, 3, 7, 3]), resamples=200)
    assert (interval.low, interval.high) == (0.0, 1.0)  # a draw of one cluster twice


def test_std_interval_covers_the_true_spread():
    draw = torch.Generator().manual_seed(1)
    hits = sum(2.0 in std_interval(2 * torch.randn(100, generator=draw), resamples=200) for _ in range(100))
    assert 85 <= hits <= 100


@pytest.mark.parametrize("statistic", [eer, auc])
def test_pair_bootstrap_covers_the_truth(statistic):
    truth = {eer: TRUE_EER, auc: 0.92135}[statistic]
    draw = torch.Generator().manual_seed(2)
    hits = sum(truth in pair_bootstrap(*made_pairs(draw), statistic=statistic, resamples=200) for _ in range(100))
    assert 86 <= hits <= 99


def people_pairs(draw, people=60):
    """Two images of each person whose quality is the person's own: pairs of one person hang together."""
    quality = torch.randn(people, generator=draw)
    left, right = torch.triu_indices(people, people, 1)
    pick = torch.randperm(len(left), generator=draw)[:300]
    left, right = left[pick], right[pick]
    impostor = 0.7 * (quality[left] + quality[right]) + 0.14 * torch.randn(300, generator=draw)
    genuine = 2 + 1.0 * quality + 0.1 * torch.randn(people, generator=draw)
    identity = torch.cat([torch.arange(people).repeat(2, 1).T, torch.stack([left, right], 1)])
    return torch.cat([genuine, impostor]), torch.arange(people + 300) < people, identity


def test_drawing_people_covers_where_drawing_pairs_does_not():
    draw = torch.Generator().manual_seed(3)
    measure = partial(error_at_threshold, threshold=1.0)
    false_accepts = partial(_impostors, measure)
    truth = 0.1587  # impostor scores have standard deviation 1
    hits = {"people": 0, "pairs": 0}
    for _ in range(100):
        scores, same, identity = people_pairs(draw)
        for kind, who in (("people", identity), ("pairs", None)):
            hits[kind] += truth in pair_bootstrap(scores, same, who, false_accepts, resamples=200)
    assert hits["people"] >= 86
    assert hits["pairs"] < hits["people"] - 10


def _impostors(measure, scores, same, weights=None):
    weights = None if weights is None else weights[:, ~same]
    return measure(scores[~same], same[~same], weights=weights)


def test_pair_weights_are_what_they_say():
    same = torch.tensor([True, True, True, False, False])
    identity = torch.tensor([[5, 5], [9, 9], [7, 7], [5, 9], [9, 7]])
    weights = torch.cat(list(pair_weights(same, identity, 50, 0)))
    five, nine, seven = weights[:, 0], weights[:, 1], weights[:, 2]
    assert (five + nine + seven == 3).all()
    assert (weights[:, 3] == five * nine).all()
    assert (weights[:, 4] == nine * seven).all()
    alone = torch.cat(list(pair_weights(same, None, 50, 0)))
    assert (alone[:, :3].sum(1) == 3).all()
    assert (alone[:, 3:].sum(1) == 2).all()


def test_pair_bootstrap_is_the_loop_over_repeated_pairs():
    scores, same = made_pairs(torch.Generator().manual_seed(4), 40)
    weights = torch.cat(list(pair_weights(same, None, 100, 0)))
    slow = [eer(scores.repeat_interleave(row.long()), same.repeat_interleave(row.long())) for row in weights]
    tails = torch.quantile(torch.tensor(slow, dtype=torch.float64), torch.tensor([0.025, 0.975]).double()).tolist()
    interval = pair_bootstrap(scores, same, resamples=100)
    assert [interval.low, interval.high] == pytest.approx(tails, abs=1e-9)
    assert interval.estimate == eer(scores, same)


def test_chunks_do_not_leave_the_number_of_draws(monkeypatch):
    monkeypatch.setattr("lib.evaluation.resampling.CHUNK", 1000)
    same = torch.arange(100) < 50
    assert [len(part) for part in pair_weights(same, None, 25, 0)] == [10, 10, 5]


def test_difference_on_the_same_pairs_is_narrower_than_each():
    draw = torch.Generator().manual_seed(5)
    first, same = made_pairs(draw, 300)
    second = first - 0.2 * same + 0.05 * torch.randn(600, generator=draw)
    difference = pair_difference(second, first, same)
    alone = pair_bootstrap(first, same)
    assert difference.estimate == pytest.approx(eer(second, same) - eer(first, same))
    assert difference.high - difference.low < 0.8 * (alone.high - alone.low)
    nothing = pair_difference(first, first, same)
    assert (nothing.estimate, nothing.low, nothing.high) == (0, 0, 0)


def test_other_statistics_through_partials():
    scores, same = made_pairs(torch.Generator().manual_seed(6))
    for statistic in (partial(tar_at_far, far=0.1), partial(error_at_threshold, threshold=1.0)):
        interval = pair_bootstrap(scores, same, statistic=statistic)
        assert interval.low < interval.estimate < interval.high


@pytest.mark.parametrize(("successes", "n"), [(0, 20), (1, 20), (7, 50), (20, 20), (2991, 3000)])
def test_wilson_is_scipys(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    interval = wilson(successes, n)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert interval.low <= interval.estimate == successes / n <= interval.high


def test_interval_reads_and_scales():
    interval = Interval(0.1, 0.05, 0.2, n=9)
    assert 0.05 in interval
    assert 0.21 not in interval
    assert str(interval.scaled(100)) == "10 [5, 20]"
    assert (interval.scaled(-1).low, interval.scaled(-1).high) == (-0.2, -0.05)
    assert interval.scaled(2).n == 9


def test_bad_input_is_told_in_a_sentence():
    values, (scores, same) = torch.arange(4.0), made_pairs(torch.Generator(), 5)
    with pytest.raises(WorkbookError, match="common length"):
        bootstrap(torch.mean, values, clusters=torch.arange(3))
    with pytest.raises(WorkbookError, match="at least 1 draw"):
        bootstrap(torch.mean, values, resamples=0)
    with pytest.raises(WorkbookError, match="level"):
        bootstrap(torch.mean, values, level=95)
    with pytest.raises(WorkbookError, match="no value"):
        bootstrap(lambda x: torch.nan, values)
    with pytest.raises(WorkbookError, match="Identities"):
        pair_bootstrap(scores, same, torch.zeros(10, 2))
    with pytest.raises(WorkbookError, match="Identities"):
        pair_bootstrap(scores, same, torch.zeros(9, 2))
    with pytest.raises(WorkbookError, match="all 5 pairs"):
        pair_bootstrap(scores[:5], same[:5])
    with pytest.raises(WorkbookError, match="counts"):
        wilson(5, 4)


def test_mean_interval_is_students():
    interval = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = 2.7764 * 2.5**0.5 / 5**0.5  # the 97.5 % quantile at four degrees of freedom; variance 2.5
    assert (interval.estimate, interval.n) == (3.0, 5)
    assert interval.high - 3 == pytest.approx(half, abs=1e-4)
    assert mean_interval([0.0] * 5 + [1.0] * 5).high - 0.5 == pytest.approx(
        2.2622 * (10 / 36) ** 0.5 / 10**0.5, abs=1e-4
    )
    with pytest.raises(WorkbookError, match="two or more draws"):
        mean_interval([1.0])


# Wilson by hand at 0 of n: [0, z^2 / (n + z^2)], z = 1.959964; Newcombe's difference of two such rates: +- that
Z2 = 1.959963985**2


def test_a_rate_without_an_error_has_wilson_s_interval():
    none, every = torch.zeros(40, dtype=torch.bool), torch.ones(40, dtype=torch.bool)
    found = bootstrap(lambda mask: mask.double().mean(), none)
    assert (found.estimate, found.low) == (0, 0)
    assert found.high == pytest.approx(Z2 / (40 + Z2))
    assert found.method == "Wilson of 40 units"
    assert found.n == 40
    full = bootstrap(lambda mask: mask.double().mean(), every)
    assert (full.high, full.low) == (1, pytest.approx(40 / (40 + Z2)))
    clustered = bootstrap(lambda mask: mask.double().mean(), none, clusters=torch.arange(40) // 4)
    assert clustered.high == pytest.approx(Z2 / (10 + Z2))


def test_what_is_no_rate_and_what_has_a_width_stays():
    counts = bootstrap(torch.mean, torch.zeros(40))  # sizes, not examples that are right or wrong
    assert (counts.low, counts.high) == (0, 0)
    half = torch.arange(40) < 20
    assert bootstrap(lambda mask: mask.double().mean(), half) == bootstrap(torch.mean, half.double())
    total = bootstrap(lambda mask: mask.double().sum(), torch.ones(40, dtype=torch.bool))
    assert (total.low, total.high) == (40, 40)


def test_a_difference_of_two_rates_at_the_ends_has_newcombe_s_interval():
    none, every = torch.zeros(40, dtype=torch.bool), torch.ones(40, dtype=torch.bool)
    end = Z2 / (40 + Z2)
    same = rate_difference(none, none)
    assert (same.low, same.high) == (pytest.approx(-end), pytest.approx(end))
    assert same.method == "Newcombe of 40 units"
    apart = rate_difference(every, none)
    assert apart.estimate == apart.high == 1
    assert apart.low == pytest.approx(1 - 2**0.5 * end)
    half = torch.arange(40) < 20
    inside = rate_difference(half, half)  # alike, but not at an end: no bound follows from the rates alone
    assert (inside.low, inside.high) == (0, 0)


def test_newcombe_s_own_example():
    """56/70 - 48/80 = 0.2 with [0.0524, 0.3339] (Newcombe 1998, Table II, method 10)."""
    found = newcombe(wilson(56, 70), wilson(48, 80))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_pairs_that_are_all_told_apart_have_wilson_s_interval():
    same = torch.arange(50) < 20
    scores = torch.where(same, 1.0, -1.0)
    found = pair_bootstrap(scores, same)
    assert (found.estimate, found.low, found.high) == (0, 0, pytest.approx(Z2 / (20 + Z2)))  # the rarer kind
    assert found.method == "Wilson of 20 units"
    turned = pair_bootstrap(-scores, same)
    assert (turned.estimate, turned.high) == (1, 1)
    assert turned.low == pytest.approx(20 / (20 + Z2))
    people = torch.stack([torch.arange(50) % 10, (torch.arange(50) + ~same) % 10], 1)
    assert pair_bootstrap(scores, same, people).high == pytest.approx(Z2 / (10 + Z2))
    assert pair_bootstrap(scores, same, statistic=auc).low == pytest.approx(20 / (20 + Z2))
    end = Z2 / (20 + Z2)
    gap = pair_difference(scores, scores, same)
    assert (gap.low, gap.high) == (pytest.approx(-end), pytest.approx(end))
    assert pair_difference(-scores, scores, same).low == pytest.approx(1 - 2**0.5 * end)


def test_a_few_draws_at_the_ends():
    assert mean_interval([1.0] * 5).low == pytest.approx(5 / (5 + Z2))
    assert mean_interval([1.0] * 5, examples=600).low == pytest.approx(600 / (600 + Z2))
    assert mean_interval([0.0] * 5, top=100).high == pytest.approx(100 * Z2 / (5 + Z2))
    assert mean_interval([100.0] * 5).low == pytest.approx(100 * 5 / (5 + Z2))
    assert mean_interval([0.0] * 5).high == 0  # zeros need not be rates
    assert mean_interval([0.5] * 5).low == 0.5
