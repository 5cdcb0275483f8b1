"""Principal components of faces, and projection on the first k of them (PIN, section III: the toy experiment)."""

from dataclasses import dataclass
from typing import Protocol

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

    def first(self, k: int) -> "Basis":
        """The first k eigenvectors, as views: many k share one basis."""
        if not 1 <= k <= len(self):
            raise WorkbookError(f"The basis holds {len(self)} eigenvectors: ask for 1 to {len(self)}, not {k}.")
        return Basis(self.vectors[:, :k], self.mean, self.eigenvalues[:k])


class HasBasis(Protocol):
    """A `Basis`, or a module that holds one."""

    vectors: Tensor
    mean: Tensor


def coefficients(x: Tensor, basis: HasBasis) -> Tensor:
    """B^T (x - m) (n, N) of gray images (n, 1, H, W), in the units of the images."""
    if x.shape[1:].numel() != len(basis.mean):
        raise WorkbookError(f"This basis is of images with {len(basis.mean)} pixels, but {x.shape[1:].numel()} came.")
    return (x.flatten(1) - basis.mean) @ basis.vectors


def rebuild(found: Tensor, basis: HasBasis, like: Tensor) -> Tensor:
    """B a + m in the shape of the images `like` (n, 1, H, W), of coefficients a (n, N)."""
    return (found @ basis.vectors.T + basis.mean).view_as(like)


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
    values = values.flip(0)[:components]
    left = left.flip(1)[:, :components]
    if values[-1] <= values[0] * 1e-12:
        raise WorkbookError(f"These images span fewer than {components} dimensions: ask for fewer eigenvectors.")
    vectors = rows.T @ (left / values.sqrt())
    largest = vectors.abs().argmax(0, keepdim=True)
    vectors *= vectors.gather(0, largest).sign()  # a convention, so that the same faces give the same signs
    return {"vectors": vectors.float(), "mean": mean.float(), "eigenvalues": (values / (len(rows) - 1)).float()}


class Projection(nn.Module):
    """x -> B diag(q) B^T (x - m) + m with a mask q (n, N) of its own for every image; subclasses say which.

    All masks of a batch are one elementwise product between two matrix products: no loop over images.
    """

    def __init__(self, basis: Basis):
        super().__init__()
        self.register_buffer("vectors", basis.vectors)
        self.register_buffer("mean", basis.mean)


class PCAProjection(Projection):
    """Project gray images on the first k eigenvectors: x -> B B^T (x - m) + m. The same subspace for every image."""

    def __init__(self, basis: Basis, k: int):
        super().__init__(basis.first(k))
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) to their projections, same shape; values may leave [0,1]."""
        return rebuild(coefficients(x, self), self, x)

    def extra_repr(self) -> str:
        """Shown as PCAProjection(k=200)."""
        return f"k={self.k}"
