"""How much Gaussian noise in one pixel subspace moves a verification score (PIN, section III, Figs 2-4).

A subspace is a set of pixels: a mask (H, W). All noises have the same L2 norm, `intensity * ||x||` with x in [-1,1],
whatever the size of the subspace; so a difference between subspaces is a difference in sensitivity.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.attacks import Intensity
from lib.errors import WorkbookError
from lib.models import Recogniser, batch_size, embed_all
from lib.progress import progress


@dataclass(frozen=True)
class Noise:
    """Gaussian noise: its intensity (PIN's, of images in [-1,1]), how many of it for each image, from which seed."""

    intensity: float
    count: int
    seed: int = 0


def band(size: tuple[int, int], first: int, height: int) -> Tensor:
    """The subspace of the pixel rows first, ..., first + height - 1, as a mask (H, W) of zeros and ones."""
    if not 0 <= first < first + height <= size[0]:
        raise WorkbookError(f"Rows {first} to {first + height - 1} are not all in an image of {size[0]} rows.")
    mask = torch.zeros(size)
    mask[first : first + height] = 1
    return mask


def regions(size: tuple[int, int]) -> dict[str, Tensor]:
    """PIN's subspaces #1 (bottom), #2 (middle) and #3 (top), each a third of the rows, and the total space."""
    third = size[0] // 3
    return {
        "#1 bottom": band(size, size[0] - third, third),
        "#2 middle": band(size, (size[0] - third) // 2, third),
        "#3 top": band(size, 0, third),
        "total": torch.ones(size),
    }


def windows(size: tuple[int, int], height: int, stride: int) -> dict[int, Tensor]:
    """The subspace slid down the face: masks (H, W) of `height` rows, keyed by their middle row."""
    starts = range(0, size[0] - height + 1, stride)
    return {start + height // 2: band(size, start, height) for start in starts}


def subspace_noise(
    x: Tensor, mask: Tensor, intensity: float, count: int, generator: torch.Generator | None = None
) -> Tensor:
    """`count` noises per image, Gaussian on the mask's pixels, each of norm `intensity * ||x||` with x in [-1,1].

    x (n, C, H, W) in [0,1], mask (H, W); returns (n, count, C, H, W) in units of [0,1]. Not clamped, as in PIN.
    """
    noise = torch.randn(len(x), count, *x.shape[1:], device=x.device, generator=generator).mul_(mask.to(x.device))
    radius = Intensity(intensity).radius(x) * x[0].numel() ** 0.5
    return noise.mul_((radius[:, None] / noise.flatten(2).norm(dim=2)).view(len(x), count, 1, 1, 1))


@torch.no_grad()
def similarity_under_noise(
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    masks: Mapping[str | int, Tensor],
    noise: Noise,
) -> dict[str | int, Tensor]:
    """Cosine similarity of each noisy image with its clean partner, (P, noise.count) per subspace, on the CPU.

    x, y (P, C, H, W) are the pairs' two images in [0,1]; only x is disturbed. Every subspace sees the same draws.
    """
    device = next(model.parameters()).device
    x = x.to(device)
    partner = embed_all(model, y)
    batch = batch_size(None, device)
    rows = max(1, batch // noise.count)
    found = {}
    for name, mask in progress(list(masks.items()), "noise in each subspace"):
        generator = torch.Generator(device).manual_seed(noise.seed)
        parts = []
        for part, other in zip(x.split(rows), partner.split(rows), strict=True):
            noisy = [
                part[:, None] + subspace_noise(part, mask, noise.intensity, min(batch, noise.count - done), generator)
                for done in range(0, noise.count, batch)
            ]
            embedded = [model.embed(chunk.flatten(0, 1)).unflatten(0, chunk.shape[:2]) for chunk in noisy]
            parts.append((torch.cat(embedded, 1) * other[:, None]).sum(2).cpu())
        found[name] = torch.cat(parts)
    return found


def spread_and_shift(
    noisy: Mapping[str | int, Tensor], clean: Tensor
) -> tuple[dict[str | int, Tensor], dict[str | int, Tensor]]:
    """Per subspace, over the K noises of each pair: standard deviation (P,), and mean less the clean similarity (P,).

    The standard deviation is divided by c4(K), so that a small K does not pull its mean over pairs down.
    """
    spread = {name: scores.std(1) / c4(scores.shape[1]) for name, scores in noisy.items()}
    return spread, {name: scores.mean(1) - clean for name, scores in noisy.items()}


def median_pair(clean: Tensor, kind: Tensor) -> int:
    """Position of the pair with the median clean similarity (P,) among the pairs where `kind` (P,) holds."""
    rows = kind.nonzero().flatten()
    return int(rows[clean[rows].argsort()[len(rows) // 2]])


def c4(n: int) -> float:
    """Expected sample standard deviation of n normal draws over the true one: sqrt(2/(n-1)) G(n/2) / G((n-1)/2)."""
    return math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))


def similarity_gradient(model: Recogniser, x: Tensor, y: Tensor) -> Tensor:
    """Gradient of each pair's cosine similarity by the pixels of x: (P, C, H, W), on the CPU."""
    partner = embed_all(model, y)
    batch = batch_size(None, partner.device)
    parts = []
    for part, other in zip(x.split(batch), partner.split(batch), strict=True):
        leaf = part.to(other.device).requires_grad_()
        score = (model.embed(leaf) * other).sum()
        parts.append(torch.autograd.grad(score, leaf)[0].cpu())
    return torch.cat(parts)


def predicted_std(gradient: Tensor, x: Tensor, mask: Tensor, intensity: float) -> Tensor:
    """First-order standard deviation (P,) of the cosine under noise in the subspace `mask`.

    With g the gradient, d the subspace's dimension and r the noise's norm, the cosine moves by g . eta, and for a
    direction uniform on the sphere of radius r in the subspace std(g . eta) = r ||P g|| / sqrt(d).
    """
    energy = (gradient * mask).flatten(1).square().sum(1)
    radius = Intensity(intensity).radius(x) * x[0].numel() ** 0.5
    return radius * (energy / (mask.sum() * x.shape[1])).sqrt()
