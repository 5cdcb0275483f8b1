"""Rates, gaps and confusion matrices of what classifiers answered (page 10, Table 1 and Figure 6)."""

from collections.abc import Sequence
from dataclasses import replace

import seaborn
import torch
from matplotlib.axes import Axes
from torch import BoolTensor, LongTensor, Tensor

from lib.evaluation.intervals import wilson
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images, over_seeds
from lib.interval import Interval
from lib.studies.dar_sfrl.threats import NAMES

FEWEST = 10  # images of a class whose row of a confusion matrix is coloured


def right_under(found: dict[str, Tensor], labels: LongTensor, name: str, names: tuple[str, ...] = NAMES) -> BoolTensor:
    """Which images (seeds, n) are right: "clean", under the attack `name`, or under "worst" of clean and all attacks.

    found: the `answers` of several trainings, stacked.
    """
    clean = found["clean"] == labels
    if name == "clean":
        return clean
    attacked = found["predictions"] == labels  # (seeds, attacks, n)
    return clean & attacked.all(1) if name == "worst" else attacked[:, names.index(name)]


def rate_of(right: BoolTensor) -> Interval:
    """The accuracy in per cent of right (seeds, n), trainings and images drawn."""
    return over_seeds(right).scaled(100)


def gap_of(first: BoolTensor, second: BoolTensor, seed: int = 0) -> Interval:
    """The accuracy of the first (seeds, n) less that of the second, in points, on the same images and trainings.

    Where one has one training and the other several, the one stands beside each of them.
    """
    seeds = max(len(first), len(second))
    pair = [part.expand(seeds, -1) for part in (first, second)]
    found = bootstrap_seeds_and_images(lambda a, b: a.double().mean() - b.double().mean(), *pair, seed=seed)
    return _never_flat(found.scaled(100))


def _never_flat(found: Interval) -> Interval:
    """Where no image speaks for a difference in points, as much either way as Wilson's bound of none in n allows."""
    if found.low != found.high or not found.n:
        return found
    most = wilson(0, found.n).scaled(100).high
    return replace(found, low=found.low - most, high=found.high + most, method=f"Wilson of {found.n} units")


def change_of_gaps(*right: BoolTensor, seed: int = 0) -> Interval:
    """(a - b) - (c - d) of the accuracies of right a, b, c, d (seeds, n), in points: one drop less another."""
    seeds = max(len(part) for part in right)
    parts = [part.double().expand(seeds, -1) for part in right]
    values = 100 * (parts[0] - parts[1] - parts[2] + parts[3])
    return _never_flat(bootstrap_seeds_and_images(lambda v: v.mean(), values, seed=seed))


def share_saved(base: BoolTensor, base_hit: BoolTensor, full: BoolTensor, hit: BoolTensor) -> Interval | None:
    """By how many per cent the drop of `full` is smaller than that of `base` (seeds, n); None if `base` may lose none.

    All trainings and images are drawn together. Where the interval of the base's drop reaches to zero there is nothing
    to divide by.
    """
    if gap_of(base, base_hit).low <= 0:
        return None
    parts = [part.double() for part in (base, base_hit, full, hit)]

    def saved(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        drop = (a - b).mean()
        return 100 * (1 - (c - d).mean() / drop) if drop > 0 else torch.tensor(float("nan"))

    return bootstrap_seeds_and_images(saved, *parts)


def shown(interval: Interval, digits: int = 1) -> str:
    """An interval for a narrow cell: the estimate and half the width of the interval, as 41.2 ± 3.1."""
    return f"{interval.estimate:.{digits}f} ± {(interval.high - interval.low) / 2:.{digits}f}"


def draw_confusions(axes: Sequence[Axes], tables: dict[str, Tensor], names: Sequence[str]) -> None:
    """Confusion matrices of counts (classes, classes), one an axis: colour by row, counts in the cells (Fig 6).

    Rows of fewer than `FEWEST` images stay white: their colour would say nothing.
    """
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        shares = table / table.sum(1, keepdim=True).clamp_min(1) * (table.sum(1, keepdim=True) >= FEWEST)
        first = axis.get_subplotspec().is_first_col()
        seaborn.heatmap(
            shares.numpy(),
            annot=table.int().numpy(),
            fmt="d",
            annot_kws={"fontsize": 8},
            vmin=0,
            vmax=1,
            cmap="Blues",
            linewidths=0.5,
            cbar=False,
            xticklabels=list(names),
            yticklabels=list(names) if first else False,
            ax=axis,
        )
        axis.set(title=title, xlabel="answer", ylabel="true" if first else "")
        axis.tick_params(axis="x", rotation=90)
        axis.tick_params(axis="both", labelsize=8, length=0)
