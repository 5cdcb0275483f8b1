"""What page 18 sums up: leads, the smallest of them, what PGD missed."""

from types import SimpleNamespace

import pytest
import torch

from lib.studies.robust_ssl.adversarial.self_at_page import (
    ROBUST,
    above_trivial,
    falls,
    judgements,
    lead,
    least_lead,
    missed_by_pgd,
    only_uncounted,
    points,
    printed_gaps,
    spread_shrinks,
)


def rights(rate, n=200, few=50):
    flags = (torch.arange(n) % 100 < rate).expand(2, n)
    return {"SA": flags, "RA": flags, "WC": flags, "AA": flags[:, :few]}


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
    nothing = missed_by_pgd({"honest": rights(40)}, resamples=50)
    assert nothing.estimate == 0
    assert nothing.high > 3  # fifty pictures do not show that there is nothing to find


def test_a_spread_that_stays_does_not_shrink():
    wide = {name: rights(20 + 5 * at) for at, name in enumerate(ROBUST)}
    narrow = {name: rights(30 + at) for at, name in enumerate(ROBUST)}
    assert spread_shrinks(wide, narrow, resamples=50).estimate == 16
    assert spread_shrinks(wide, wide, resamples=50).estimate == 0


def test_a_lead_takes_the_trainings_that_both_have():
    three = {name: flags[:1].expand(3, -1) for name, flags in rights(40).items()}
    assert lead({"one": three, "other": rights(30)}, "one", "other").shape == (2, 200)
    assert least_lead([points(three), points(rights(30))], resamples=20).estimate == 30


def test_robustness_counts_from_what_needs_no_training():
    answer = torch.arange(400) % 100 < 10
    slf = {"ACL": rights(25), "untrained": rights(2)}
    assert above_trivial(slf, answer, resamples=50).estimate == 15
    assert above_trivial(slf | {"untrained": rights(20)}, answer, resamples=50).estimate == 5
    assert above_trivial(slf | {"ACL": rights(8)}, answer, resamples=50).estimate == -2


def test_a_teacher_explains_a_lead_only_if_the_lead_is_lost_with_it():
    slf = {"ACL": rights(20), "DeACL": rights(30)}
    assert only_uncounted(slf, slf | {"DeACL": rights(15)}, resamples=50).estimate == 5
    assert only_uncounted(slf, slf, resamples=50).estimate == -10  # still ahead
    behind = slf | {"DeACL": rights(10)}
    assert only_uncounted(behind, behind, resamples=50).estimate == -10  # there was no lead


def test_what_falls_is_counted_from_the_best():
    assert falls([{"RA": torch.tensor([0.1, 0.3, 0.2])}, {"RA": torch.tensor([0.1, 0.3, 0.3])}]) == pytest.approx(5)
    assert printed_gaps({"ACL": 30.0, "RoCL": 20.0}) == {"RoCL": -10.0}


def test_what_is_costly_to_judge_can_be_done_ahead():
    names = list(judgements(SimpleNamespace(by_steps=print)))  # nothing runs until a job is called
    assert {"judged SLF ACL", "judged SLF clean ACL", "judged SLF passes DeACL", "judged AFF longer"} <= set(names)
    assert {"judged few labels untrained", "judged steps RoCL", "judged SLF fixed weak"} <= set(names)
