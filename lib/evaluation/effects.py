"""How far two samples differ: overlap, standardised difference, chance of exceeding."""

import torch
from torch import Tensor

from lib.evaluation.verification import auc


def histogram_overlap(first: Tensor, second: Tensor, bins: int = 50) -> float:
    """Overlap coefficient of two histograms on shared bins: 1 for equal shares everywhere, 0 for none in common."""
    first = first.flatten().double()
    second = second.flatten().double()
    both = torch.cat([first, second])
    ends = (both.min().item(), both.max().item())
    shares = [torch.histc(part, bins, *ends) / len(part) for part in (first, second)]
    return torch.minimum(*shares).sum().item()


def cohens_d(first: Tensor, second: Tensor) -> float:
    """Difference of the means, first less second, over the root of the mean variance."""
    first = first.flatten().double()
    second = second.flatten().double()
    spread = ((first.var() + second.var()) / 2).sqrt().clamp_min(1e-12)
    return ((first.mean() - second.mean()) / spread).item()


def superiority(first: Tensor, second: Tensor) -> float:
    """Chance that a value of `first` exceeds one of `second`, ties half (the AUC): 0.5 where nothing differs."""
    first = first.flatten()
    both = torch.cat([first, second.flatten()])
    return auc(both, torch.arange(len(both)) < len(first))


def mean_where(values: Tensor, chosen: Tensor) -> float:
    """Mean of the values (seeds, n) where `chosen` (seeds, n) is true; not a number where it is nowhere."""
    return values[chosen].double().mean().item()


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson correlation of two vectors (n,)."""
    return torch.corrcoef(torch.stack([first, second]))[0, 1]


def ranks(values: Tensor) -> Tensor:
    """Ranks (..., n) from 0 of values (..., n), equal ones sharing their mean rank."""
    one, other = values[..., :, None], values[..., None, :]
    return (one > other).double().sum(-1) + ((one == other).double().sum(-1) - 1) / 2


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Spearman's rank correlation (...) of values (..., n); not a number where a side has none or is all the same."""
    one, other = (ranks(side) - (side.shape[-1] - 1) / 2 for side in (first, second))
    found = (one * other).sum(-1) / (one.square().sum(-1) * other.square().sum(-1)).sqrt()
    return torch.where((first.isnan() | second.isnan()).any(-1), torch.nan, found)
