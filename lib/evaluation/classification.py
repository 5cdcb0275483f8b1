"""Accuracy of classifiers, clean and under attack. Rates lie in [0, 1]."""

import torch
from torch import Tensor

from lib.errors import WorkbookError


def accuracy(predictions: Tensor, labels: Tensor) -> float:
    """Share of right answers; `predictions` are class indices (n,) or logits (n, K), `labels` class indices (n,)."""
    return correct(predictions, labels).double().mean().item()


def correct(predictions: Tensor, labels: Tensor) -> Tensor:
    """Which examples are right, (n,) bool; `predictions` are class indices (n,) or logits (n, K)."""
    chosen = _classes(predictions)
    labels = torch.as_tensor(labels).detach().cpu()
    if chosen.shape != labels.shape or len(labels) == 0:
        raise WorkbookError(
            f"Accuracy expects one prediction per label, not {tuple(chosen.shape)} predictions for "
            f"{tuple(labels.shape)} labels; evaluate the same examples on both sides."
        )
    return chosen == labels


def worst_case(correct: Tensor) -> Tensor:
    """Which examples withstand every attack, (n,) bool, from `correct` (attacks, n): one row per attack.

    Give the clean answers as one more row, since an attacker may also leave an image alone.
    """
    correct = torch.as_tensor(correct).detach().cpu()
    if correct.ndim != 2 or 0 in correct.shape or correct.dtype != torch.bool:
        raise WorkbookError(
            f"worst_case expects booleans (attacks, n), not {correct.dtype} {tuple(correct.shape)}; stack "
            "one row of right or wrong per attack."
        )
    return correct.all(0)


def robust_accuracy(correct: Tensor) -> float:
    """Share of examples that withstand every attack, from `correct` (attacks, n)."""
    return worst_case(correct).double().mean().item()


def confusion(predictions: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes): row = true class, column = predicted class (DAR-SFRL, Fig 6)."""
    chosen = _classes(predictions)
    labels = torch.as_tensor(labels).detach().cpu()
    correct(chosen, labels)  # the shapes
    if min(int(chosen.min()), int(labels.min())) < 0 or max(int(chosen.max()), int(labels.max())) >= classes:
        raise WorkbookError(
            f"confusion expects class indices from 0 to {classes - 1}, but predictions reach {int(chosen.max())} and "
            f"labels {int(labels.max())}; give the number of classes."
        )
    return torch.bincount(labels.long() * classes + chosen.long(), minlength=classes**2).reshape(classes, classes)


def _classes(predictions: Tensor) -> Tensor:
    predictions = torch.as_tensor(predictions).detach().cpu()
    if predictions.ndim == 2 and bool(predictions.isnan().any()):
        raise WorkbookError("Accuracy expects logits without NaN; look for an overflow in the model or the attack.")
    return predictions.argmax(1) if predictions.ndim == 2 else predictions
