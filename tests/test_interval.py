import math

import pytest

from lib.errors import WorkbookError
from lib.interval import Interval


def test_it_formats_itself():
    interval = Interval(1.234, -0.5, 2.0)
    assert f"{interval:.1f}" == "1.2 [-0.5, 2.0]"
    assert str(interval) == "1.234 [-0.5, 2]"


def test_rounding_noise_reads_as_zero():
    assert f"{Interval(-2.776e-15, -1.0, 1.0)}" == "0 [-1, 1]"


def test_other_units():
    assert Interval(0.5, 0.25, 1.0).scaled(-100) == Interval(-50.0, -100.0, -25.0)
    assert Interval(0.5, 0.25, 1.0).shifted(1) == Interval(1.5, 1.25, 2.0)
    assert Interval(0.5, 0.25, 1.0, n=3).of(9).n == 9
    assert 0.3 in Interval(0.5, 0.25, 1.0)
    assert 0.2 not in Interval(0.5, 0.25, 1.0)


@pytest.mark.parametrize("numbers", [(math.nan, 0, 1), (0, -math.inf, 1), (0, 1, -1)])
def test_what_hides_a_failure_is_refused(numbers):
    with pytest.raises(WorkbookError, match="interval"):
        Interval(*numbers)
