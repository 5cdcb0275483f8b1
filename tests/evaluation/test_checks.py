"""The honesty checks on curves whose verdict is known, PIN's and ANCRA's printed ones among them."""

import pytest

from lib.errors import WorkbookError
from lib.evaluation.checks import (
    adversarial_never_above_clean,
    monotone_in_bound,
    one_step_below_iterative,
    online_at_least_offline,
    reaches_everything_at_large_bound,
    white_box_at_least_black_box,
)
from lib.evaluation.intervals import Interval
from lib.papers import printed, table


def test_pins_own_numbers_pass():
    online, transfer = (
        table("pin", "Table XI").loc["online / PIN"] / 100,
        printed("pin", "Table XII", "transfer / PIN", "DI2-FGSM"),
    )
    assert one_step_below_iterative(online["FGSM"], online["I-FGSM"]).passed
    assert white_box_at_least_black_box(online["FGSM"], transfer.value / 100).passed
    curve = table("pin", "Table XIII").loc["online / PIN"] / 100
    bounds = [float(name.split()[-1]) for name in curve.index]
    assert monotone_in_bound(bounds, curve.tolist()).passed
    assert reaches_everything_at_large_bound(bounds, curve.tolist()).passed
    both = table("pin", "Table IV")
    assert online_at_least_offline(both.loc["online / PIN", "PGD"] / 100, both.loc["offline / PIN", "PGD"] / 100).passed


def test_ancras_numbers_do_not():
    row = 1 - table("ancra", "Table II").loc["CIFAR-10 / PGD-AT-ANCRA"] / 100
    above = adversarial_never_above_clean(row["Nat"], row[["FGSM", "PGD", "AA"]].to_dict())
    assert not above.passed
    assert "PGD" in above.sentence
    assert "masked gradient" in above.sentence
    white = 1 - printed("ancra", "Table II", "CIFAR-10 / TRADES-ANCRA", "PGD").value / 100
    black = 1 - printed("ancra", "Table VII", "PGD-100 / TRADES-ANCRA", "MART").value / 100
    assert not white_box_at_least_black_box(white, black).passed


def test_touching_intervals_are_no_contradiction():
    wide, narrow = Interval(0.30, 0.20, 0.40), Interval(0.25, 0.24, 0.26)
    assert one_step_below_iterative(wide, narrow).passed
    assert not one_step_below_iterative(wide, 0.19).passed
    assert one_step_below_iterative(0.3, 0.3).passed


def test_a_fall_anywhere_is_found_against_the_best_before_it():
    assert not monotone_in_bound([1, 2, 3], [0.1, 0.5, 0.4]).passed
    check = monotone_in_bound([0.01, 0.02, 0.04, 0.08], [0.5, Interval(0.45, 0.40, 0.52), 0.45, 0.9])
    assert not check.passed
    assert check.sentence == (
        "The error falls from 50.00 % at 0.01 to 45.00 % at 0.04, so the attack stops finding what is there."
    )


def test_a_curve_that_stops_short_of_everything():
    check = reaches_everything_at_large_bound([0.1, 0.75], [0.4, 0.9])
    assert not check.passed
    assert "90.00 %" in check.sentence
    assert reaches_everything_at_large_bound([0.1, 0.75], [0.4, Interval(0.98, 0.97, 0.995)]).passed


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(WorkbookError, match="divide per cent"):
        one_step_below_iterative(14.5, 26.7)
    with pytest.raises(WorkbookError, match="ascending"):
        monotone_in_bound([2, 1], [0.1, 0.2])
    with pytest.raises(WorkbookError, match="ascending"):
        reaches_everything_at_large_bound([1, 2], [0.1])
    with pytest.raises(WorkbookError, match="at least one attack"):
        adversarial_never_above_clean(0.1, {})
