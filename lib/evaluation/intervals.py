"""Confidence intervals: the percentile bootstrap, over single samples, clusters or verification pairs, and Wilson's.

All take tensors and give an `Interval` of Python floats; the same seed gives the same interval on every machine's CPU.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.resampling import at_least_one, clusters_of, common_length, pair_weights, units
from lib.evaluation.verification import checked, eer
from lib.interval import Interval


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
    all images of a person.
    """
    samples = tuple(torch.as_tensor(sample).detach().cpu() for sample in samples)
    n, resamples = common_length(samples, clusters), at_least_one(resamples)
    draw = torch.Generator().manual_seed(seed)
    groups = clusters_of(clusters, n)
    size = n if groups is None else len(groups)
    values = []
    for _ in range(resamples):
        index = torch.randint(size, (size,), generator=draw)
        rows = index if groups is None else torch.cat([groups[i] for i in index.tolist()])
        values.append(float(statistic(*(sample[rows] for sample in samples))))
    return _percentile(float(statistic(*samples)), torch.tensor(values, dtype=torch.float64), level, size)


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
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of a verification `statistic(scores, same, weights=w)`: `eer`, `auc`, a partial of `tar_at_far`.

    Without `people` the genuine and the impostor pairs (P,) are drawn apart, pair by pair. When pairs share people,
    give their identities (P, 2): people are drawn instead, and a genuine pair of person i counts w_i times, an
    impostor pair w_i * w_j times. That is on the safe side: where each person is in one impostor pair only, the
    FAR's part of the interval comes out up to sqrt(3) times too wide.
    """
    scores, same, _ = checked(scores, same)
    values = torch.cat([statistic(scores, same, weights=w) for w in pair_weights(same, people, resamples, seed)])
    return _percentile(float(statistic(scores, same)), values, level, units(same, people))


def pair_difference(
    first: Tensor,
    second: Tensor,
    same: Tensor,
    people: Tensor | None = None,
    statistic: Callable[..., Tensor | float] = eer,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Interval of `statistic(first) - statistic(second)` for two sets of scores (P,) of the same pairs, drawn alike."""
    first, same, _ = checked(first, same)
    second, _, _ = checked(second, same)
    differences = [
        statistic(first, same, weights=w) - statistic(second, same, weights=w)
        for w in pair_weights(same, people, resamples, seed)
    ]
    estimate = float(statistic(first, same)) - float(statistic(second, same))
    return _percentile(estimate, torch.cat(differences), level, units(same, people))


def mean_interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean of a few independent draws (seeds, folds) with its interval by Student's t."""
    drawn = torch.tensor(list(values), dtype=torch.float64)
    if len(drawn) < 2:
        raise WorkbookError(f"An interval of a mean needs two or more draws, not {len(drawn)}: raise the number.")
    from scipy.stats import t  # only here: importing it takes as long as half of torch

    half = float(t.ppf(0.5 + _level(level) / 2, len(drawn) - 1) * drawn.std() / len(drawn) ** 0.5)
    mean = float(drawn.mean())
    return Interval(mean, mean - half, mean + half, level, len(drawn), "Student's t")


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a proportion; honest also at 0 and at n successes, where a bootstrap has no width."""
    if not 0 <= successes <= n or n < 1:
        raise WorkbookError(f"wilson expects 0 to n successes of n >= 1 trials, not {successes} of {n}; give counts.")
    from scipy.stats import binomtest  # only here: importing it takes as long as half of torch

    ends = binomtest(int(successes), int(n)).proportion_ci(_level(level), method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), level, n, "Wilson")


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
