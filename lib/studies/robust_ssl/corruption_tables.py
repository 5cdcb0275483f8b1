"""Errors of networks under corruption, drawn anew over seeds and pictures, and what is measured on them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.effects import rank_correlation
from lib.evaluation.intervals import at_the_ends
from lib.interval import Interval
from lib.studies.robust_ssl.corrupted_accuracy import Rights, places

RESAMPLES = 500
ROUNDING = 1e-5  # of a share that was added up in single precision
LEAST_ADDED = 2.0  # points that a corruption must cost the reference on average; less is no measure of difficulty


@dataclass(frozen=True, eq=False)
class Errors:
    """Errors in per cent on all data (first row) and on B draws of seeds and pictures.

    clean (1 + B, networks); under (1 + B, networks, conditions, strengths). m: pictures behind each.
    """

    networks: tuple[str, ...]
    conditions: tuple[str, ...]
    strengths: tuple[float, ...]
    clean: Tensor
    under: Tensor
    m: int

    def of(self, *networks: str) -> "Errors":
        """Those of some networks alone."""
        rows = places(networks, self.networks)
        return Errors(networks, self.conditions, self.strengths, self.clean[:, rows], self.under[:, rows], self.m)

    def only(self, *conditions: str) -> "Errors":
        """Under some conditions alone."""
        rows = places(conditions, self.conditions)
        return Errors(self.networks, conditions, self.strengths, self.clean, self.under[:, :, rows], self.m)

    @property
    def mean(self) -> Tensor:
        """Mean over conditions and strengths, (1 + B, networks)."""
        return self.under.mean((2, 3))

    @property
    def along(self) -> Tensor:
        """Mean over the conditions, clean first, (1 + B, networks, 1 + strengths)."""
        return torch.cat([self.clean[..., None], self.under.mean(2)], 2)

    def interval(self, values: Tensor) -> Interval:
        """The 95 % interval of a number per draw (1 + B,), the first on all data; empty draws are left out."""
        return interval_of(values, self.m)

    def rate(self, values: Tensor) -> Interval:
        """`interval` of errors or accuracies in per cent: Wilson's where every draw is 0 or 100 %."""
        shares = values.double() / 100
        whole = shares.round()
        shares = torch.where((shares - whole).abs() < ROUNDING, whole, shares)
        return at_the_ends(interval_of(shares, self.m), float(shares[0]), n=self.m).scaled(100)


def interval_of(values: Tensor, n: int) -> Interval:
    """Percentile interval of draws (1 + B,) around the first, which is the estimate, and which it holds."""
    low, high = values[1:].double().nanquantile(torch.tensor([0.025, 0.975]).double()).tolist()
    estimate = float(values[0])
    if low != low:
        raise WorkbookError("No draw has a value: measure on more pictures.")
    return Interval(estimate, min(low, estimate), max(high, estimate), n=n)


def drawn_errors(rights: Rights, resamples: int = RESAMPLES, seed: int = 0) -> Errors:
    """Errors on all data and on draws: trainings and pictures with replacement, all networks and conditions alike."""
    seeds, m = rights.clean.shape[1:]
    draw = torch.Generator().manual_seed(seed)
    trainings = shares(seeds, resamples, draw)
    pictures = shares(m, resamples, draw)
    clean = torch.einsum("nsm,bs,bm->bn", wrong(rights.clean), trainings, pictures)
    per_seed = torch.tensordot(wrong(rights.under), pictures, dims=([4], [1]))  # (n, s, c, v, b)
    under = torch.einsum("nscvb,bs->bncv", per_seed, trainings)
    return Errors(rights.networks, rights.conditions, rights.strengths, 100 * clean, 100 * under, m)


def wrong(right: Tensor) -> Tensor:
    """Bool as errors, 0 or 1."""
    return 1 - right.float()


def shares(n: int, resamples: int, draw: torch.Generator) -> Tensor:
    """(1 + B, n): how much each of n units counts, evenly in the first row, as often as drawn in the others."""
    index = torch.randint(n, (resamples, n), generator=draw)
    counts = torch.zeros(resamples, n).scatter_add_(1, index, torch.ones(resamples, n))
    return torch.cat([torch.ones(1, n), counts]) / n


def slopes(values: Tensor, at: tuple[float, ...]) -> Tensor:
    """Least-squares slope of values (..., V) against `at` (V,)."""
    x = torch.tensor(at, dtype=values.dtype)
    x = x - x.mean()
    return (values * x).sum(-1) / x.square().sum()


def largest_slope(errors: Errors) -> Tensor:
    """Slope of the accuracy against severity, mean over the conditions, largest over the networks, (1 + B,)."""
    return -slopes(errors.under.mean(2), errors.strengths).amin(1)


def largest_slope_anywhere(errors: Errors) -> Tensor:
    """Slope of the accuracy for 0.1 more of |c|, clean included, largest over networks and conditions, (1 + B,)."""
    clean = errors.clean[:, :, None, None].expand(-1, -1, len(errors.conditions), -1)
    whole = torch.cat([clean, errors.under], 3)
    return -0.1 * slopes(whole, (0.0, *errors.strengths)).flatten(1).amin(1)


def smallest_step(errors: Errors) -> Tensor:
    """Accuracy lost from one strength to the next, mean over the conditions, smallest anywhere, (1 + B,)."""
    return errors.along.diff(dim=2).flatten(1).amin(1)


def formula_relative(errors: Errors, reference: Errors) -> Tensor:
    """Relative mCE of each network, 1: as much added as to the reference; (1 + B, networks).

    Over the corruptions of `hard_ones(reference)`. Draws in which one of them costs it nothing have no value.
    """
    names = hard_ones(reference)
    added, below = ((part.only(*names).under - part.clean[:, :, None, None]).sum(3) for part in (errors, reference))
    return torch.where(below > 0, added / below, torch.nan).mean(2)


def hard_ones(reference: Errors) -> tuple[str, ...]:
    """The conditions that cost the reference, one network, `LEAST_ADDED` points or more at the mean severity."""
    added = (reference.under[0, 0] - reference.clean[0, 0]).mean(1)
    found = tuple(name for name, cost in zip(reference.conditions, added.tolist(), strict=True) if cost >= LEAST_ADDED)
    if not found:
        raise WorkbookError(f"No corruption costs the reference {LEAST_ADDED:g} points: take a reference that learnt.")
    return found


def share_kept(errors: Errors, classes: int) -> Tensor:
    """Of each network's accuracy above chance the per cent that corruption leaves, (1 + B, networks).

    Unlike what corruption adds to an error, it gives no credit to a network that has little to lose.
    """
    chance = 100 * (1 - 1 / classes)
    clean = chance - errors.clean
    return torch.where(clean > 0, 100 * (chance - errors.mean) / clean, torch.nan)


def subtracted(errors: Errors, times: int) -> Tensor:
    """Mean error less the clean error, taken off the sum over the severities so many times, (1 + B, networks)."""
    return errors.mean - errors.clean * times / len(errors.strengths)


def conditions_drawn(count: int, draws: int, seed: int = 0) -> Tensor:
    """(draws, count): in the first row each condition once, in the others drawn with replacement."""
    draw = torch.Generator().manual_seed(seed)
    return torch.cat([torch.arange(count)[None], torch.randint(count, (draws - 1, count), generator=draw)])


def ranked_alike(first: Tensor, second: Tensor, seed: int = 0) -> Tensor:
    """Rank correlation over conditions (1 + B, C) of two tables, the conditions drawn as well, (1 + B,)."""
    second = second.expand_as(first)
    rows = conditions_drawn(first.shape[1], len(first), seed)
    return rank_correlation(first.gather(1, rows), second.gather(1, rows))
