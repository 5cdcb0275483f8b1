"""What page 18 sums up: leads, the smallest of them, what PGD missed."""

import torch

from lib.studies.robust_ssl.adversarial.self_at_page import (
    ROBUST,
    lead,
    least_lead,
    missed_by_pgd,
    points,
    spread_shrinks,
)


def rights(rate, n=200, few=50):
    flags = (torch.arange(n) % 100 < rate).expand(2, n)
    return {"SA": flags, "RA": flags, "AA": flags[:, :few]}


def test_a_lead_is_in_points():
    right = {"one": rights(40), "other": rights(30)}
    assert lead(right, "one", "other").mean().item() == 10
    assert points(right["one"], "SA").mean().item() == 40


def test_the_smallest_lead_counts():
    found = least_lead([points(rights(40)), points(rights(30))], resamples=50)
    assert found.estimate == 30
    assert found.low < 30 < found.high


def test_what_pgd_missed_is_taken_on_the_same_pictures():
    weak = rights(40)
    weak["AA"] = torch.zeros(2, 50, dtype=torch.bool)
    found = missed_by_pgd({"weak": weak, "honest": rights(40)}, resamples=50)
    assert found.estimate == 80  # 40 of the first 50 pictures
    assert found.low <= found.estimate <= found.high
    assert missed_by_pgd({"honest": rights(40)}, resamples=50).estimate == 0


def test_a_spread_that_stays_does_not_shrink():
    wide = {name: rights(20 + 5 * at) for at, name in enumerate(ROBUST)}
    narrow = {name: rights(30 + at) for at, name in enumerate(ROBUST)}
    assert spread_shrinks(wide, narrow, resamples=50).estimate == 16
    assert spread_shrinks(wide, wide, resamples=50).estimate == 0
