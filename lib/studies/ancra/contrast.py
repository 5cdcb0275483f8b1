"""What negatives a batch holds (ANCRA, Table I), and where a contrast pushes two points of a plane (Fig 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.errors import WorkbookError
from lib.studies.ancra.negatives import candidates


@dataclass(frozen=True, eq=False)
class Predictions:
    """Logits (n, K) of the images that batches are drawn from, and their labels (n,); both on the CPU."""

    logits: Tensor
    labels: LongTensor

    @classmethod
    def of(cls, logits: Tensor, labels: LongTensor) -> "Predictions":
        """Logits and labels from any device, without gradients."""
        return cls(logits.detach().cpu(), labels.cpu())


def missing(
    strategy: str, found: Predictions, batch: int, classes: int | None = None, draws: int = 100, seed: int = 0
) -> Tensor:
    """Share of anchors without a negative in each of `draws` random batches (draws,), float64.

    classes: each draw takes that many of the K at random, leaves out the images of the others, and lets the model
    choose among the ones left.
    """
    logits = found.logits
    labels = found.labels
    known = logits.shape[1]
    draw = torch.Generator().manual_seed(seed)
    shares = []
    if classes is not None and not 2 <= classes <= known:
        raise WorkbookError(f"Negatives are sought among 2 to {known} classes, not {classes}: choose one of these.")
    for _ in range(draws):
        left = torch.randperm(known, generator=draw)[: classes or known]
        mine = torch.isin(labels, left).nonzero().flatten()
        if not 2 <= batch <= len(mine):
            raise WorkbookError(f"A batch is 2 to {len(mine)} of these images, not {batch}: change it or give more.")
        rows = mine[torch.randperm(len(mine), generator=draw)[:batch]]
        predicted = left[logits[rows][:, left].argmax(1)]
        shares.append((~candidates(strategy, labels[rows], predicted).any(1)).double().mean())
    return torch.stack(shares)


def false_positive_shares(found: Predictions) -> Tensor:
    """Share of all images that each class gets wrongly (K,): seen as the class, labelled otherwise; float64."""
    predicted = found.logits.argmax(1)
    wrong = predicted[predicted != found.labels]
    return torch.bincount(wrong, minlength=found.logits.shape[1]).double() / len(found.labels)


def expected_missing(found: Predictions, batch: int) -> float:
    """Share of anchors without a Hard-LS negative, were the images of a batch drawn one by one: none is mistaken."""
    visited = false_positive_shares(found)[found.labels]
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
