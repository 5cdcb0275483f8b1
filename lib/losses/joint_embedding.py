"""Losses of the joint-embedding families as pure functions: predictive, clustered, distilled, decorrelated.

Views are rows (n, d) of one batch in the same order, not normalised unless said; NT-Xent stands in `contrastive`. What
must not learn (a target, a teacher, codes) is detached here, so that a stop-gradient cannot be forgotten; hand over
`detach=False` to show what happens without it. All in float32 whatever the autocast.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import WorkbookError


def predictive(predicted: Tensor, target: Tensor, detach: bool = True) -> Tensor:
    """Mean of minus the cosine of a prediction (n, d) and its target (n, d) (SimSiam, Chen and He 2021, equation 1).

    BYOL's loss (Grill et al. 2020, equation 2) is 2 + 2 times it, with the target from a moving average of the weights.
    """
    _check(predicted, target)
    target = target.detach() if detach else target
    return -F.cosine_similarity(predicted.float(), target.float(), dim=1).mean()


def byol(predicted: Tensor, target: Tensor, detach: bool = True) -> Tensor:
    """Mean squared distance of the unit vectors: 2 - 2 cos (BYOL, equation 2)."""
    return 2 + 2 * predictive(predicted, target, detach)


def queued_contrast(query: Tensor, key: Tensor, queue: Tensor, temperature: float = 0.07) -> Tensor:
    """InfoNCE of unit queries and keys (n, d) against the unit keys of earlier batches (m, d) (MoCo, equation 1)."""
    _check(query, key)
    query = query.float()
    key = key.detach().float()
    queue = queue.detach().float()
    own = (query * key).sum(1, keepdim=True)
    logits = torch.cat([own, _product(query, queue.T)], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


@torch.no_grad()
def sinkhorn(scores: Tensor, sharpness: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes (n, K), rows of sum 1 and columns of nearly equal sums, from scores (n, K) (SwAV, section 3.1)."""
    logs = scores.float() / sharpness
    for _ in range(iterations):  # in logarithms: exp(scores / sharpness) runs over
        logs = logs - logs.logsumexp(0, keepdim=True)
        logs = logs - logs.logsumexp(1, keepdim=True)
    return logs.exp()


def swapped_prediction(
    scores: list[Tensor], temperature: float = 0.1, sharpness: float = 0.05, iterations: int = 3, whole: int = 2
) -> Tensor:
    """Cross-entropy of each view's assignment with the codes of the others (SwAV, equation 2).

    scores: cosines (n, K) of each view with the prototypes; only the first `whole` views (not the small crops) give
    codes. `iterations = 0` gives codes without the balance, which collapse to one prototype.
    """
    if len(scores) < 2 or not 1 <= whole <= len(scores):
        raise WorkbookError(
            f"Swapped predictions need two views or more, whole ones first, not {len(scores)} ({whole})."
        )
    logs = [(view.float() / temperature).log_softmax(1) for view in scores]
    total = scores[0].new_zeros(())
    for i in range(whole):
        code = sinkhorn(scores[i], sharpness, iterations) if iterations else _unbalanced(scores[i], sharpness)
        others = [-(code * log).sum(1).mean() for j, log in enumerate(logs) if j != i]
        total = total + sum(others) / len(others)
    return total / whole


def _unbalanced(scores: Tensor, sharpness: float) -> Tensor:
    return (scores.detach().float() / sharpness).softmax(1)


def self_distillation(
    student: list[Tensor], teacher: list[Tensor], centre: Tensor, sharp: float = 0.04, soft: float = 0.1
) -> Tensor:
    """Cross-entropy of the student's views with the teacher's other views (DINO, Caron et al. 2021, algorithm 1).

    student, teacher: logits (n, K) per view, the teacher's views being the student's first ones; centre (K,) is taken
    from the teacher's; sharp and soft: temperatures of teacher and student.
    """
    if len(student) < 2 or not 1 <= len(teacher) <= len(student):
        raise WorkbookError(
            f"Self-distillation compares different views: give two or more of the student and as many or fewer of the "
            f"teacher, not {len(student)} and {len(teacher)}."
        )
    targets = [((view.detach().float() - centre) / sharp).softmax(1) for view in teacher]
    logs = [(view.float() / soft).log_softmax(1) for view in student]
    terms = [-(target * log).sum(1).mean() for i, target in enumerate(targets) for j, log in enumerate(logs) if i != j]
    return sum(terms) / len(terms)


@torch.no_grad()
def next_centre(centre: Tensor, teacher: list[Tensor], momentum: float = 0.9) -> Tensor:
    """DINO's centre (K,) after a batch of the teacher's logits (n, K) per view: a moving mean."""
    return momentum * centre + (1 - momentum) * torch.cat(teacher).float().mean(0)


def barlow_twins(first: Tensor, second: Tensor, weight: float = 5e-3) -> Tensor:
    """Cross-correlation of two views' standardised features driven to the identity (Zbontar et al. 2021, equation 1).

    weight: of the squares off the diagonal; 0 leaves alignment alone.
    """
    _check(first, second)
    correlation = _product(standardised(first).T, standardised(second)) / len(first)
    diagonal = correlation.diagonal()
    return (1 - diagonal).square().sum() + weight * (correlation.square().sum() - diagonal.square().sum())


def standardised(features: Tensor) -> Tensor:
    """Features (n, d) of mean 0 and standard deviation 1 over the batch, as batch normalisation does it."""
    features = features.float()
    return (features - features.mean(0)) / (features.var(0, unbiased=False) + 1e-5).sqrt()


def vicreg(first: Tensor, second: Tensor, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> Tensor:
    """Invariance, variance and covariance of two views (n, d) with their weights (Bardes et al. 2022, equation 6).

    Differs from the paper, as its code does: the variance term is the mean over both views, not their sum, and the
    squared distance is a mean over the d features, not a sum.
    """
    _check(first, second)
    first = first.float()
    second = second.float()
    invariance = F.mse_loss(first, second)
    variance = (too_small(first) + too_small(second)) / 2
    return weights[0] * invariance + weights[1] * variance + weights[2] * (redundant(first) + redundant(second))


def too_small(features: Tensor) -> Tensor:
    """How far the standard deviations of features (n, d) fall short of 1, on average (VICReg, equation 1)."""
    return F.relu(1 - (features.var(0) + 1e-4).sqrt()).mean()


def redundant(features: Tensor) -> Tensor:
    """Squared covariances of different features (n, d), summed and divided by d (VICReg, equation 4)."""
    centred = features - features.mean(0)
    covariance = _product(centred.T, centred) / (len(features) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / features.shape[1]


def _product(first: Tensor, second: Tensor) -> Tensor:
    with torch.autocast(first.device.type, enabled=False):  # bfloat16 would round the sums
        return first @ second


def _check(first: Tensor, second: Tensor) -> None:
    if first.ndim != 2 or first.shape != second.shape or len(first) < 2:
        raise WorkbookError(
            f"Two views are two tables (n, d) of the same shape with two rows or more, not {tuple(first.shape)} and "
            f"{tuple(second.shape)}: embed the same pictures twice."
        )
