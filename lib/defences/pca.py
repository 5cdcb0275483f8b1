"""Principal components of faces, and projection on the first k of them (PIN, section III: the toy experiment)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError


@dataclass(frozen=True, eq=False)
class Basis:
    """Eigenvectors of faces: vectors (D, N) with orthonormal columns, mean (D,), eigenvalues (N,) descending."""

    vectors: Tensor
    mean: Tensor
    eigenvalues: Tensor

    def __len__(self) -> int:
        return self.vectors.shape[1]

    def deviation(self) -> float:
        """Largest entry of |B^T B - I|, computed in float64: how far from orthonormal the stored columns are."""
        wide = self.vectors.double()
        return (wide.T @ wide - torch.eye(len(self), dtype=torch.float64, device=wide.device)).abs().max().item()


def fit_pca(images: Tensor, components: int) -> dict[str, Tensor]:
    """The first `components` eigenvectors of gray images (n, 1, H, W), as the fields of a `Basis` (float32).

    Goes through the n x n Gram matrix in float64. In float32 that route leaves |B^T B - I| up to 0.05, because the
    small eigenvalues drown in rounding; every formula in coefficient space needs an orthonormal basis.
    """
    rows = images.flatten(1).double()
    if not 1 <= components < len(rows):
        raise WorkbookError(f"{len(rows)} images span at most {len(rows) - 1} eigenvectors, not {components}.")
    mean = rows.mean(0)
    rows = rows - mean
    values, left = torch.linalg.eigh(rows @ rows.T)
    values, left = values.flip(0)[:components], left.flip(1)[:, :components]
    if values[-1] <= values[0] * 1e-12:
        raise WorkbookError(f"These images span fewer than {components} dimensions: ask for fewer eigenvectors.")
    vectors = rows.T @ (left / values.sqrt())
    largest = vectors.abs().argmax(0, keepdim=True)
    vectors *= vectors.gather(0, largest).sign()  # a convention, so that the same faces give the same signs
    return {"vectors": vectors.float(), "mean": mean.float(), "eigenvalues": (values / (len(rows) - 1)).float()}


class PCAProjection(nn.Module):
    """Project gray images on the first k eigenvectors: x -> B B^T (x - m) + m. The same subspace for every image."""

    def __init__(self, basis: Basis, k: int):
        super().__init__()
        if not 1 <= k <= len(basis):
            raise WorkbookError(f"The basis holds {len(basis)} eigenvectors: ask for 1 to {len(basis)}, not {k}.")
        self.k = k
        self.register_buffer("vectors", basis.vectors[:, :k])  # a view: many k share one basis
        self.register_buffer("mean", basis.mean)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) to their projections, same shape; values may leave [0,1]."""
        if x[0].numel() != len(self.mean):
            raise WorkbookError(f"This basis is of images with {len(self.mean)} pixels, but {x[0].numel()} came.")
        centred = x.flatten(1) - self.mean
        return (centred @ self.vectors @ self.vectors.T + self.mean).view_as(x)

    def extra_repr(self) -> str:
        """Shown as PCAProjection(k=200)."""
        return f"k={self.k}"
