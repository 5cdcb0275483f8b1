"""Intervals for values (seeds, n): trainings and images are both drawn, as a claim is about neither these nor those."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.intervals import at_the_ends, constant_rate
from lib.interval import Interval


def over_seeds(
    values: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95, top: float | None = None
) -> Interval:
    """Mean of values (seeds, n) with its percentile interval, trainings and images both drawn.

    Boolean values, and values that are all 0 or all 100 % (`top`, as in `mean_interval`), are rates: where they never
    vary the interval is Wilson's of the n images.
    """
    draw = torch.Generator().manual_seed(seed)
    seeds, n = values.shape
    top = 1.0 if values.dtype == torch.bool else top
    values = values.double().cpu()
    trainings, images = (torch.randint(count, (resamples, count), generator=draw) for count in (seeds, n))
    shares = torch.nn.functional.one_hot(trainings, seeds).double().mean(1)  # (resamples, seeds)
    means = (shares @ values).gather(1, images).mean(1)
    low, high = means.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return constant_rate(Interval(values.mean().item(), low, high, level, n), values, top, n)


def bootstrap_seeds_and_images(
    statistic: Callable[..., Tensor | float], *values: Tensor, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """`statistic(*values)` of values (seeds, n) with its percentile interval, trainings and images both drawn.

    All values are drawn alike, so that two methods on the same images are compared pair by pair. Draws in which the
    statistic is not a number (no image of a kind) are left out. Boolean values are rates, as in `bootstrap`.
    """
    draw = torch.Generator().manual_seed(seed)
    seeds, n = values[0].shape
    estimates = []
    if any(part.shape != (seeds, n) for part in values):
        raise WorkbookError(
            f"All values are (seeds, n), but {[tuple(part.shape) for part in values]} came: align them."
        )
    for _ in range(resamples):
        rows, columns = (torch.randint(count, (count,), generator=draw) for count in (seeds, n))
        estimates.append(float(statistic(*(part[rows][:, columns] for part in values))))
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()
    low, high = torch.tensor(estimates).double().nanquantile(tails).tolist()
    found = Interval(float(statistic(*values)), low, high, level, n)
    return at_the_ends(found, *[float(part.double().mean()) for part in values if part.dtype == torch.bool], n=n)
