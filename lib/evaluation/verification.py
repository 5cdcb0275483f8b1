"""Face verification from similarity scores: a pair is accepted as genuine when its score is high enough.

Every rate lies in [0, 1]. FAR is the share of impostor pairs accepted, FRR that of genuine pairs rejected and
TAR = 1 - FRR. Pairs with equal scores are accepted together, so a group of ties is one step of the curve. `weights`
count each pair, as a bootstrap does: (P,) gives one result, (B, P) gives B results (B,) at once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lib.errors import WorkbookError


class Roc(NamedTuple):
    """Operating points from 'accept none' to 'accept all', each (K + 1,): accept a pair when score >= threshold."""

    far: Tensor
    tar: Tensor
    threshold: Tensor


@dataclass(frozen=True)
class TenFold:
    """Accuracy per fold, its mean and its sample standard deviation over the folds (n - 1 in the denominator)."""

    mean: float
    std: float
    folds: tuple[float, ...]


def eer(scores: Tensor, same: Tensor, weights: Tensor | None = None) -> float | Tensor:
    """Equal error rate of scores (P,) with labels (P,): where FAR = FRR, linear between neighbouring thresholds.

    The threshold sweeps over the union of genuine and impostor scores. Values above 0.5 mean that the order of the
    two kinds is turned round, as an attack does (PIN, Table IV); total inversion gives 1. A group of ties is one
    straight stretch of the curve, so that equal scores throughout give 0.5. NaN where the weights leave no genuine or
    no impostor pair.
    """
    far, frr = _curve(*checked(scores, same, weights))
    gap = frr - far  # from 1 (accept none) down to -1 (accept all)
    after = torch.searchsorted(-gap.contiguous(), torch.zeros(len(gap), 1, dtype=gap.dtype)).clamp(1, gap.shape[1] - 1)
    before = after - 1
    high = gap.gather(1, before)
    low = gap.gather(1, after)
    step = high / (high - low)
    left = far.gather(1, before)
    right = far.gather(1, after)
    return _result((left + step * (right - left)).squeeze(1), weights)


def one_minus_eer(scores: Tensor, same: Tensor, weights: Tensor | None = None) -> float | Tensor:
    """1 less the equal error rate: higher is better, as of a recogniser's other numbers."""
    return 1 - eer(scores, same, weights)


def roc(scores: Tensor, same: Tensor) -> Roc:
    """The ROC curve, one operating point per distinct score, as scikit-learn's `roc_curve(drop_intermediate=False)`."""
    values, labels, _ = checked(scores, same)
    far, frr = _curve(values, labels, None)
    threshold = torch.cat([torch.full((1,), torch.inf, dtype=values.dtype), values.unique(sorted=True).flip(0)])
    return Roc(far[0], 1 - frr[0], threshold)


def auc(scores: Tensor, same: Tensor, weights: Tensor | None = None) -> float | Tensor:
    """Area under the ROC curve: the chance that a genuine pair outscores an impostor pair, ties counting half."""
    far, frr = _curve(*checked(scores, same, weights))
    return _result(torch.trapezoid(1 - frr, far, dim=1), weights)


def tar_at_far(scores: Tensor, same: Tensor, far: float, weights: Tensor | None = None) -> float | Tensor:
    """Largest TAR among the thresholds whose FAR is at most `far` (no interpolation: the operating point exists)."""
    if not 0 <= far <= 1:
        raise WorkbookError(f"tar_at_far expects a false accept rate between 0 and 1, not {far}; give 1 % as 0.01.")
    reached, frr = _curve(*checked(scores, same, weights))
    allowed = reached <= far + 1e-12  # a weighted count over its own sum may miss the bound by one rounding
    best = torch.where(allowed, 1 - frr, torch.zeros_like(frr)).amax(1)
    return _result(torch.where(frr.isnan().any(1) | reached.isnan().any(1), torch.nan, best), weights)


def error_at_threshold(scores: Tensor, same: Tensor, threshold: float, weights: Tensor | None = None) -> float | Tensor:
    """Share of pairs on the wrong side: a pair is accepted when score > `threshold` (PIN, Tables VIII and XIII).

    One kind of pair alone is allowed: with genuine pairs only it is the FRR, with impostor pairs only the FAR.
    """
    values, labels, counts = checked(scores, same, weights, both=False)
    wrong = ((values > threshold) != labels).double()
    if counts is None:
        return wrong.mean().item()
    return _result((counts * wrong).sum(1) / counts.sum(1), weights)


def ten_fold_accuracy(scores: Tensor, same: Tensor, fold: Tensor) -> TenFold:
    """LFW's protocol: for each fold, the threshold that is best on the other folds is used on this one.

    `fold` (P,) holds the fold of each pair (LFW: 0 to 9, 600 pairs each); any number of folds from 2 on will do. Of
    equally good thresholds the middle one is taken, half-way between two scores.
    """
    values, labels, _ = checked(scores, same)
    fold = torch.as_tensor(fold).cpu()
    names = fold.unique()
    if fold.shape != values.shape or len(names) < 2:
        raise WorkbookError(
            f"ten_fold_accuracy expects one fold number per pair and at least 2 folds, not {tuple(fold.shape)} numbers "
            f"of {len(names)} folds for {len(values)} pairs; pass the fold of the pairs, such as Pairs.fold."
        )
    accuracies = []
    for name in names:
        test = fold == name
        threshold = best_threshold(values[~test], labels[~test])
        accuracies.append(1 - error_at_threshold(values[test], labels[test], threshold))
    result = torch.tensor(accuracies, dtype=torch.float64)
    return TenFold(result.mean().item(), result.std().item(), tuple(accuracies))


def best_threshold(scores: Tensor, same: Tensor) -> float:
    """The threshold of the highest accuracy (accept when score > threshold): the middle one of equally good ones."""
    values, labels, _ = checked(scores, same, both=False)
    distinct, group = values.unique(sorted=True, return_inverse=True)
    gain = torch.zeros(len(distinct), dtype=torch.long).index_add_(0, group, 1 - 2 * labels.long())
    right = torch.cat([torch.zeros(1, dtype=torch.long), gain.cumsum(0)])  # against accepting every pair
    best = (right == right.max()).nonzero().flatten()
    cut = int(best[len(best) // 2])
    edges = torch.cat([distinct[:1] - 1, distinct, distinct[-1:] + 1])
    return ((edges[cut] + edges[cut + 1]) / 2).item()


def worst_scores(same: Tensor, *scores: Tensor) -> Tensor:
    """The worst case of each pair over several attacks: genuine pairs keep their lowest, impostors their highest score.

    scores and same (P,); the EER of the result is that of an attacker who tries every attack on every pair.
    """
    every = torch.stack([checked(some, same, both=False)[0] for some in scores])
    return torch.where(torch.as_tensor(same).cpu(), every.amin(0), every.amax(0))


def checked(
    scores: Tensor, same: Tensor, weights: Tensor | None = None, both: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Scores (P,) float64, labels (P,) bool and weights (B, P) float64 on the CPU, or an error with what is wrong."""
    scores = torch.as_tensor(scores).detach().cpu()
    same = torch.as_tensor(same).detach().cpu()
    if scores.ndim != 1 or scores.shape != same.shape or len(scores) == 0:
        raise WorkbookError(
            f"Verification expects one score and one label per pair, both (P,), not scores {tuple(scores.shape)} and "
            f"labels {tuple(same.shape)}; flatten them or take the same pairs for both."
        )
    if not scores.isfinite().all():
        count = int((~scores.isfinite()).sum())
        raise WorkbookError(
            f"Verification expects finite scores, but {count} of {len(scores)} are NaN or infinite; look for zero "
            "embeddings or an overflow in the model."
        )
    same = same.bool()
    if both and (same.all() or not same.any()):
        raise WorkbookError(
            f"Verification expects genuine and impostor pairs, but all {len(same)} pairs are "
            f"{'genuine' if same.all() else 'impostor'} pairs; add the other kind or use error_at_threshold."
        )
    return scores.double(), same, None if weights is None else _checked_weights(weights, len(scores))


def _checked_weights(weights: Tensor, pairs: int) -> Tensor:
    weights = torch.as_tensor(weights).detach().cpu().double()
    if weights.ndim not in (1, 2) or weights.shape[-1] != pairs or bool((weights < 0).any() | weights.isnan().any()):
        raise WorkbookError(
            f"Weights are expected as (P,) or (B, P) numbers from 0 on with P = {pairs} pairs, not "
            f"{tuple(weights.shape)} or with negative or NaN values; give one count per pair."
        )
    return weights.reshape(-1, pairs)


def _curve(scores: Tensor, same: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor]:
    """FAR and FRR (B, K + 1) after accepting the none, one, ..., K highest distinct scores."""
    ordered, order = scores.sort(descending=True)
    last = torch.cat([ordered[1:] != ordered[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().flatten()
    counts = torch.ones(1, len(scores), dtype=torch.float64) if weights is None else weights
    counts = counts[:, order]
    genuine = same[order]
    accepted = [_share(counts * kind, last) for kind in (~genuine, genuine)]
    return accepted[0], 1 - accepted[1]


def _share(counts: Tensor, last: Tensor) -> Tensor:
    """Running share (B, K + 1) of the total count at the ends `last` of the groups, from 0 on."""
    running = counts.cumsum(1)
    share = running[:, last] / running[:, -1:]
    return torch.cat([torch.zeros_like(share[:, :1]), share], dim=1)


def _result(values: Tensor, weights: Tensor | None) -> float | Tensor:
    single = weights is None or torch.as_tensor(weights).ndim == 1
    return values.item() if single else values
