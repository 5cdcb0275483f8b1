"""Confidence intervals: the percentile bootstrap, over single samples, clusters or verification pairs, and Wilson's.

All take tensors and give an `Interval` of Python floats; the same seed gives the same interval on every machine's CPU.
At 0 and at 100 % a bootstrap sees no variation at all: there Wilson's interval of a rate, and Newcombe's of a
difference, stand in its place, and `Interval.method` says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.resampling import (
    at_least_one,
    clusters_of,
    common_length,
    fewest_units,
    pair_weights,
    units,
)
from lib.evaluation.verification import checked, eer
from lib.interval import Interval

EXTREMES = (0.0, 1.0)  # rates at which every example agrees


@dataclass(frozen=True)
class Draws:
    """How a bootstrap draws: how often, from which seed, for which level of confidence."""

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95


def bootstrap(
    statistic: Callable[..., Tensor | float],
    *samples: Tensor,
    clusters: Tensor | None = None,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic(*samples)`; the samples (n, ...) are drawn together, row by row.

    Because they are drawn together, a difference of two defences on the same images is a paired one:
    `bootstrap(lambda a, b: (a - b).mean(), errors_a, errors_b)`. With `clusters` (n,) whole clusters are drawn, such as
    all images of a person. Boolean samples are examples that are right or wrong: where the interval of their rate, or
    of the difference of two rates, has no width at 0 or 100 %, it is Wilson's or Newcombe's.
    """
    samples = tuple(torch.as_tensor(sample).detach().cpu() for sample in samples)
    n = common_length(samples, clusters)
    resamples = at_least_one(resamples)
    draw = torch.Generator().manual_seed(seed)
    groups = clusters_of(clusters, n)
    size = n if groups is None else len(groups)
    values = []
    for _ in range(resamples):
        index = torch.randint(size, (size,), generator=draw)
        rows = index if groups is None else torch.cat([groups[i] for i in index.tolist()])
        values.append(float(statistic(*(sample[rows] for sample in samples))))
    found = _percentile(float(statistic(*samples)), torch.tensor(values, dtype=torch.float64), level, size)
    return at_the_ends(found, *[float(part.double().mean()) for part in samples if part.dtype == torch.bool], n=size)


def rate_difference(first: Tensor, second: Tensor, **draws: object) -> Interval:
    """Share of `first` less that of `second`, two boolean masks (n,) of the same examples, drawn together."""
    return bootstrap(_mean_gap, first.bool(), second.bool(), **draws)


def _mean_gap(first: Tensor, second: Tensor) -> Tensor:
    return (first.double() - second.double()).mean()


def std_interval(
    values: Tensor, clusters: Tensor | None = None, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Interval of the sample standard deviation (n - 1) of values (n,), such as similarities under noise."""
    return bootstrap(lambda x: x.double().std(), values, clusters=clusters, resamples=resamples, seed=seed, level=level)


def pair_bootstrap(
    scores: Tensor,
    same: Tensor,
    people: Tensor | None = None,
    statistic: Callable[..., Tensor | float] = eer,
    **draws: float,
) -> Interval:
    """Interval of a verification `statistic(scores, same, weights=w)`: `eer`, `auc`, a partial of `tar_at_far`.

    Without `people` the genuine and the impostor pairs (P,) are drawn apart, pair by pair. When pairs share people,
    give their identities (P, 2): people are drawn instead, and a genuine pair of person i counts w_i times, an
    impostor pair w_i * w_j times. That is on the safe side: where each person is in one impostor pair only, the
    FAR's part of the interval comes out up to sqrt(3) times too wide. draws: fields of `Draws`.

    A statistic of 0 or 1 that no draw changes gets Wilson's interval, as of a rate of independent units: the pairs of
    the rarer kind, or with `people` the people in them, as both kinds of error lie within its bounds then.
    """
    how = Draws(**draws)
    scores, same, _ = checked(scores, same)
    weights = pair_weights(same, people, how.resamples, how.seed)
    values = torch.cat([statistic(scores, same, weights=w) for w in weights])
    found = _percentile(float(statistic(scores, same)), values, how.level, units(same, people))
    return at_the_ends(found, found.estimate, n=fewest_units(same, people))


def pair_difference(
    first: Tensor,
    second: Tensor,
    same: Tensor,
    people: Tensor | None = None,
    statistic: Callable[..., Tensor | float] = eer,
    **draws: float,
) -> Interval:
    """Interval of `statistic(first) - statistic(second)` for two sets of scores (P,) of the same pairs, drawn alike.

    draws: fields of `Draws`. Where both statistics are 0 or 1 and no draw changes that, the interval is Newcombe's.
    """
    how = Draws(**draws)
    first, same, _ = checked(first, same)
    second, _, _ = checked(second, same)
    differences = [
        statistic(first, same, weights=w) - statistic(second, same, weights=w)
        for w in pair_weights(same, people, how.resamples, how.seed)
    ]
    rates = (float(statistic(first, same)), float(statistic(second, same)))
    found = _percentile(rates[0] - rates[1], torch.cat(differences), how.level, units(same, people))
    return at_the_ends(found, *rates, n=fewest_units(same, people))


def mean_interval(
    values: Sequence[float], level: float = 0.95, top: float | None = None, examples: int | None = None
) -> Interval:
    """Mean of a few independent draws (seeds, folds) with its interval by Student's t.

    Rates that are all 0 or all `top` (what 100 % is: 1, or 100 for per cent; None where zeros need not be rates) get
    Wilson's interval of `examples`, those behind all draws, by default of the draws themselves.
    """
    drawn = torch.tensor(list(values), dtype=torch.float64)
    if len(drawn) < 2:
        raise WorkbookError(f"An interval of a mean needs two or more draws, not {len(drawn)}: raise the number.")
    from scipy.stats import t  # only here: importing it takes as long as half of torch

    half = float(t.ppf(0.5 + _level(level) / 2, len(drawn) - 1) * drawn.std() / len(drawn) ** 0.5)
    mean = float(drawn.mean())
    found = Interval(mean, mean - half, mean + half, level, len(drawn), "Student's t")
    return constant_rate(found, drawn, top, examples or len(drawn))


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a proportion; honest also at 0 and at n successes, where a bootstrap has no width."""
    if not 0 <= successes <= n or n < 1:
        raise WorkbookError(f"wilson expects 0 to n successes of n >= 1 trials, not {successes} of {n}; give counts.")
    from scipy.stats import binomtest  # only here: importing it takes as long as half of torch

    ends = binomtest(int(successes), int(n)).proportion_ci(_level(level), method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), level, n, "Wilson")


def newcombe(first: Interval, second: Interval) -> Interval:
    """Newcombe's interval (1998, method 10) of the difference of two rates, each with Wilson's interval.

    d = p1 - p2 runs from d - sqrt((p1 - l1)^2 + (u2 - p2)^2) to d + sqrt((u1 - p1)^2 + (p2 - l2)^2). For paired rates
    its correlation term is zero where one of them is 0 or 1, so that it holds for the same examples, too.
    """
    gap = first.estimate - second.estimate
    below = ((first.estimate - first.low) ** 2 + (second.high - second.estimate) ** 2) ** 0.5
    above = ((first.high - first.estimate) ** 2 + (second.estimate - second.low) ** 2) ** 0.5
    return Interval(gap, gap - below, gap + above, first.level, min(first.n, second.n), "Newcombe")


def at_the_ends(found: Interval, *rates: float, n: int) -> Interval:
    """`found`, or where it has no width and its one or two `rates` are 0 or 1: Wilson's or Newcombe's of n units.

    One rate: `found` is of it; two: of the first less the second. Anything else passes as it is.
    """
    if found.low != found.high or len(rates) not in (1, 2) or not set(rates) <= set(EXTREMES):
        return found
    bounds = [wilson(round(rate * n), n, found.level) for rate in rates]
    exact = bounds[0] if len(bounds) == 1 else newcombe(*bounds)
    if exact.estimate != found.estimate:  # the statistic is another one than the rate or the difference
        return found
    return replace(exact, n=found.n, method=f"{exact.method} of {n} units")


def constant_rate(found: Interval, values: Tensor, top: float | None, n: int) -> Interval:
    """`found`, or Wilson's interval of n examples where all `values` are 0 (if `top` is known) or the same 100 %."""
    value = float(values.flatten()[0])
    if bool((values != value).any()):
        return found
    whole = top or (value if value in (1.0, 100.0) else None)
    if whole is None or value not in (0.0, whole):
        return found
    exact = wilson(n if value else 0, n, found.level).scaled(whole)
    return replace(exact, n=found.n, method=f"Wilson of {n} units")


def _percentile(estimate: float, values: Tensor, level: float, n: int) -> Interval:
    """Percentile interval; draws without a value (no genuine pair left, say) are dropped if they are the fewer half."""
    kept = values[~values.isnan()]
    if len(kept) < max(1, len(values) / 2):
        raise WorkbookError(
            f"The bootstrap found no value in {len(values) - len(kept)} of {len(values)} draws; give more pairs "
            "or people."
        )
    tail = (1 - _level(level)) / 2
    low, high = torch.quantile(kept, torch.tensor([tail, 1 - tail], dtype=kept.dtype)).tolist()
    return Interval(estimate, low, high, level, n)


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise WorkbookError(f"A confidence level is expected between 0 and 1, not {level}; give 95 % as 0.95.")
    return level
