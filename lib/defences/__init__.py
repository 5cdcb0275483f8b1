"""What stands in front of a recogniser to undo an attack."""

from lib.defences.base import Defended
from lib.defences.pca import Basis, PCAProjection, fit_pca

__all__ = ["Basis", "Defended", "PCAProjection", "fit_pca"]
