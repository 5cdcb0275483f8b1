"""Corruption errors of ImageNet-C: mCE and relative mCE (Hendrycks and Dietterich 2019, section 3).

Errors are a table (corruptions, severities), all in [0, 1] or all in per cent; the reference is a model by whose error
each corruption's difficulty is measured (AlexNet in the original). Results are ratios: 1 is as bad as the reference.
"""

import torch
from torch import Tensor

from lib.errors import WorkbookError


def corruption_errors(errors: Tensor, reference: Tensor) -> Tensor:
    """CE (corruptions,): the sum of a model's errors over the severities by that of the reference."""
    _check(errors, reference)
    return errors.sum(1) / reference.sum(1)


def mean_corruption_error(errors: Tensor, reference: Tensor) -> float:
    """mCE: the mean CE over the corruptions."""
    return corruption_errors(errors, reference).mean().item()


def relative_corruption_errors(errors: Tensor, clean: float, reference: Tensor, reference_clean: float) -> Tensor:
    """Relative CE (corruptions,): as CE, but counting what corruption adds to the clean error, at every severity."""
    _check(errors, reference)
    added = (errors - clean).sum(1)
    reference_added = (reference - reference_clean).sum(1)
    if not bool((reference_added > 0).all()):
        raise WorkbookError(
            "The relative error needs a reference that every corruption harms, but some leaves its error at or below "
            f"the clean one ({reference_clean}): take another reference, or check that both are errors, not accuracies."
        )
    return added / reference_added


def relative_mean_corruption_error(errors: Tensor, clean: float, reference: Tensor, reference_clean: float) -> float:
    """Relative mCE: the mean relative CE over the corruptions."""
    return relative_corruption_errors(errors, clean, reference, reference_clean).mean().item()


def _check(errors: Tensor, reference: Tensor) -> None:
    if errors.ndim != 2 or errors.shape != reference.shape or 0 in errors.shape:
        raise WorkbookError(
            "Corruption errors compare two tables (corruptions, severities) of one shape, not "
            f"{tuple(errors.shape)} and {tuple(reference.shape)}: list the same corruptions in the same order."
        )
    if not bool(torch.isfinite(errors).all() & torch.isfinite(reference).all()):
        raise WorkbookError("Corruption errors expect finite numbers: measure every corruption at every severity.")
