"""Whether an encoder has collapsed: the spread of its unit features, their effective rank, and their spectrum."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.representations import effective_rank


@dataclass(frozen=True, eq=False)
class Collapse:
    """spread: mean standard deviation of unit features over that of an even sphere, 1/sqrt(d): 1 healthy, 0 collapsed.

    rank: the effective rank of the centred features, 1 to d; spectrum (min(n, d),): shares of the variance, falling.
    """

    spread: float
    rank: float
    spectrum: Tensor


@torch.no_grad()
def collapse_of(features: Tensor) -> Collapse:
    """Measures of features (n, d), normalised here."""
    if features.ndim != 2 or len(features) < 2 or not bool(torch.isfinite(features).all()):
        raise WorkbookError(
            f"Collapse is measured on finite features (n, d) of two or more pictures, not {tuple(features.shape)}: "
            "embed more pictures, or look for an overflow."
        )
    unit = F.normalize(features.double(), dim=1)
    return Collapse(relative_spread(unit), effective_rank(unit), spectrum(unit).cpu())


def relative_spread(unit: Tensor) -> float:
    """Mean over the features of the standard deviation of unit features (n, d), times sqrt(d)."""
    return (unit.std(0, unbiased=False).mean() * unit.shape[1] ** 0.5).item()


def uncentred_rank(unit: Tensor) -> float:
    """exp of the entropy of the normalised singular values of unit features (n, d), not centred: 1 to d.

    One answer for all pictures has rank 1, whatever noise is around it, as have answers on one line.
    """
    moments = unit.double().T @ unit.double()  # (d, d): its eigenvalues are the squared singular values
    values = torch.linalg.eigvalsh(moments).clamp_min(0).sqrt()
    return torch.special.entr(values / values.sum().clamp_min(1e-12)).sum().exp().item()


def spectrum(features: Tensor) -> Tensor:
    """Shares of the variance of features (n, d) along their principal directions, falling; all 0 where none varies."""
    power = torch.linalg.svdvals(features - features.mean(0)).square()
    return power / power.sum().clamp_min(1e-24)
