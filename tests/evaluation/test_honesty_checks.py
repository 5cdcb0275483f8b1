"""The honesty checks on curves whose verdict is known, PIN's and ANCRA's printed ones among them."""

import pytest

from lib.errors import WorkbookError
from lib.evaluation.honesty_checks import (
    CHECKS,
    adversarial_never_above_clean,
    checks_frame,
    honesty,
    monotone_in_bound,
    more_steps_never_help_the_defender,
    no_zero_gradients,
    one_step_below_iterative,
    online_at_least_offline,
    random_search_finds_nothing_new,
    reaches_everything_at_large_bound,
    white_box_at_least_black_box,
)
from lib.interval import Interval
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


def test_more_steps_and_random_search_and_zero_gradients():
    assert more_steps_never_help_the_defender([10, 100], [0.6332, 0.8837]).passed
    fallen = more_steps_never_help_the_defender([10, 20, 100], [0.5, 0.6, 0.4])
    assert not fallen.passed
    assert "loses what it had found" in fallen.sentence
    assert random_search_finds_nothing_new([True, False, False], [True, True, False]).passed
    new = random_search_finds_nothing_new([False, True], [True, False])
    assert not new.passed
    assert "1 of them only random search" in new.sentence
    with pytest.raises(WorkbookError, match="the same pairs"):
        random_search_finds_nothing_new([True], [True, False])
    assert no_zero_gradients(0.0).passed
    assert not no_zero_gradients(0.01).passed


def test_one_call_puts_a_defence_through_the_whole_list():
    checks = honesty(
        clean=0.02,
        one_step=0.15,
        iterative=0.27,
        black_box=0.07,
        white_box=0.15,
        offline=0.06,
        online=0.15,
        by_bound={0.04: 0.14, 0.75: 1.0},
        by_steps={10: 0.63, 100: 0.88},
        random_search=([False], [True]),
        zero_gradients=0.0,
    )
    assert tuple(check.name for check in checks) == CHECKS
    assert all(check.passed for check in checks)


def test_the_list_names_what_was_not_done():
    frame = checks_frame(honesty(one_step=0.3, iterative=0.2)).set_index("check")
    assert list(frame.index) == list(CHECKS)
    assert frame.loc["one step below iterative", "verdict"] == "FAILED"
    assert (frame["verdict"] == "not done").sum() == len(CHECKS) - 1
    assert not honesty()
