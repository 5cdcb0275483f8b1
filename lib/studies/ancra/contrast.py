"""What negatives a batch holds (ANCRA, Table I), and where a contrast pushes two points of a plane (Fig 3)."""

from collections.abc import Callable

import torch
from torch import LongTensor, Tensor

from lib.errors import WorkbookError
from lib.studies.ancra.negatives import candidates


def missing(
    strategy: str,
    logits: Tensor,
    labels: LongTensor,
    batch: int,
    classes: int | None = None,
    draws: int = 100,
    seed: int = 0,
) -> Tensor:
    """Share of anchors without a negative in each of `draws` random batches (draws,), float64.

    logits (n, K) of the images that batches are drawn from, labels (n,). classes: each draw takes that many of the K
    at random, leaves out the images of the others, and lets the model choose among the ones left.
    """
    known = logits.shape[1]
    draw = torch.Generator().manual_seed(seed)
    shares = []
    if classes is not None and not 2 <= classes <= known:
        raise WorkbookError(f"Negatives are sought among 2 to {known} classes, not {classes}: choose one of these.")
    labels = labels.cpu()
    logits = logits.detach().cpu()
    for _ in range(draws):
        left = torch.randperm(known, generator=draw)[: classes or known]
        mine = torch.isin(labels, left).nonzero().flatten()
        if not 2 <= batch <= len(mine):
            raise WorkbookError(f"A batch is 2 to {len(mine)} of these images, not {batch}: change it or give more.")
        rows = mine[torch.randperm(len(mine), generator=draw)[:batch]]
        predicted = left[logits[rows][:, left].argmax(1)]
        shares.append((~candidates(strategy, labels[rows], predicted).any(1)).double().mean())
    return torch.stack(shares)


def false_positive_shares(logits: Tensor, labels: LongTensor) -> Tensor:
    """Share of all images that each class gets wrongly (K,): seen as the class, labelled otherwise; float64."""
    predicted = logits.detach().cpu().argmax(1)
    labels = labels.cpu()
    return torch.bincount(predicted[predicted != labels], minlength=logits.shape[1]).double() / len(labels)


def expected_missing(logits: Tensor, labels: LongTensor, batch: int) -> float:
    """Share of anchors without a Hard-LS negative, were the images of a batch drawn one by one: no visitor came."""
    visited = false_positive_shares(logits, labels)[labels.cpu()]
    return ((1 - visited) ** (batch - 1)).mean().item()


def gradient_path(push: Callable[[Tensor, Tensor], Tensor], start: Tensor, steps: int, rate: float) -> Tensor:
    """Gradient descent of two points (2, d), the natural and the negative one: their path (steps + 1, 2, d).

    push: the scalar to descend, a function of both points (d,); where it is flat the points stay.
    """
    path = [start.detach().clone()]
    for _ in range(steps):
        points = path[-1].clone().requires_grad_()
        (uphill,) = torch.autograd.grad(push(*points), points)
        path.append((points - rate * uphill).detach())
    return torch.stack(path)
