import pytest
import torch

from lib.errors import WorkbookError
from lib.evaluation import bootstrap
from lib.evaluation.effects import mean_where
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images, over_seeds


def test_intervals_over_seeds_and_images():
    values = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])  # only the trainings differ
    found = over_seeds(values)
    assert (found.estimate, found.low, found.high, found.n) == (0.5, 0.0, 1.0, 4)
    alike = over_seeds(torch.arange(50).double().expand(3, 50))  # only the images differ
    known = bootstrap(torch.mean, torch.arange(50).double())
    assert alike.estimate == known.estimate
    assert abs(alike.low - known.low) < 1
    assert abs(alike.high - known.high) < 1


def test_drawn_agrees_with_the_interval_of_a_mean():
    values = torch.randn(3, 80, generator=torch.Generator().manual_seed(2)).double()
    found, fast = bootstrap_seeds_and_images(torch.mean, values), over_seeds(values)
    assert found.estimate == pytest.approx(fast.estimate)
    assert found.n == 80
    assert found.low == pytest.approx(fast.low, abs=0.05)
    assert found.high == pytest.approx(fast.high, abs=0.05)


def test_drawn_keeps_pairs_together():
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(1)).double()
    found = bootstrap_seeds_and_images(lambda a, b: (a - b).mean(), values + 1, values, resamples=50)
    assert found.low == pytest.approx(1)
    assert found.high == pytest.approx(1)
    with pytest.raises(WorkbookError, match="align them"):
        bootstrap_seeds_and_images(lambda a, b: 0.0, values, values[:1])


def test_draws_without_a_chosen_image_are_left_out():
    values, chosen = torch.arange(6.0).view(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    chosen[0, 1] = True
    found = bootstrap_seeds_and_images(mean_where, values, chosen, resamples=100)
    assert (found.estimate, found.low, found.high) == (1, 1, 1)


def test_rates_that_never_vary_have_wilson_s_interval():
    z2 = 1.959963985**2
    end = z2 / (30 + z2)
    none = torch.zeros(3, 30, dtype=torch.bool)
    assert over_seeds(none).high == pytest.approx(end)
    assert over_seeds(100 * none.double(), top=100).high == pytest.approx(100 * end)
    assert over_seeds(100 * (~none).double()).low == pytest.approx(100 * (1 - end))
    assert over_seeds(none.double()).high == 0  # zeros need not be rates
    gap = bootstrap_seeds_and_images(lambda a, b: (a.double() - b.double()).mean(), none, none, resamples=20)
    assert (gap.low, gap.high) == (pytest.approx(-end), pytest.approx(end))
