"""What cameras, screens and files do. Images (n, 3, H, W) in [0,1]."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lib.transforms.corruptions.filters import gaussian, uniform
from lib.transforms.corruptions.jpeg import jpeg_rounded


def contrast(x: Tensor, factor: float, generator: Generator) -> Tensor:
    """Each channel's distance from its mean times `factor`."""
    mean = x.mean((2, 3), keepdim=True)
    return (x - mean) * factor + mean


def saturate(x: Tensor, constants: tuple[float, float], generator: Generator) -> Tensor:
    """The saturation of HSV times the first constant plus the second; gray counts as red of no saturation."""
    factor, added = constants
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    chroma = value - least
    saturation = torch.where(value > 0, chroma / value.clamp_min(1e-12), 0.0)
    red = x.new_tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    below = torch.where(chroma > 0, (value - x) / chroma.clamp_min(1e-12), red)  # the hue: how far each channel lies
    return value * (1 - (saturation * factor + added).clamp(0, 1) * below)


def jpeg(x: Tensor, quality: int, generator: Generator) -> Tensor:
    """JPEG compression of `quality`."""
    return jpeg_rounded(x, quality)


def pixelate(x: Tensor, share: float, generator: Generator) -> Tensor:
    """Fewer pixels, a `share` of each side, each the mean of those below it; then as many as before."""
    for axis in (3, 2):
        side = x.shape[axis]
        size = int(side * share)
        matrix = box_means(side, size).to(x)
        x = torch.tensordot(x, matrix, dims=([axis], [1])).movedim(3, axis)
        x = (x * 255 + 1e-3).round() / 255  # Pillow keeps bytes between the two sides
        large = ((torch.arange(side, dtype=torch.float64) + 0.5) * size / side).long()
        x = x.index_select(axis, large.to(x.device))
    return x


def box_means(before: int, after: int) -> Tensor:
    """Pillow's BOX filter as a matrix (after, before), after <= before: whole pixels whose centre lies in the box."""
    scale = before / after
    centre = (torch.arange(after, dtype=torch.float64)[:, None] + 0.5) * scale
    place = (torch.arange(before, dtype=torch.float64) + 0.5 - centre) / scale
    inside = ((place > -0.5) & (place <= 0.5)).double()
    return inside / inside.sum(1, keepdim=True)


def elastic(x: Tensor, constants: tuple[float, float, float], generator: Generator) -> Tensor:
    """A random affine map, then smooth random displacements; constants, in shares of the side.

    How far pixels move before smoothing, the sigma of the smoothing, and how far three points of the affine map move.
    """
    side = min(x.shape[2:])
    reach, sigma, moved = (constant * side for constant in constants)
    if moved > 0:
        x = _sample(x, affine_places(x, moved, generator), mirrored=True)
    if reach > 0:
        x = _sample(x, plain_places(x) + shifts(x, reach, sigma, generator), mirrored=False)
    return x


def plain_places(x: Tensor) -> Tensor:
    """Column and row of each pixel, (1, H, W, 2)."""
    height, width = x.shape[2:]
    sides = (torch.arange(width, device=x.device), torch.arange(height, device=x.device))
    return torch.stack(torch.meshgrid(*sides, indexing="xy"), -1)[None].to(x)


def affine_places(x: Tensor, moved: float, generator: Generator) -> Tensor:
    """From where each pixel of a random affine map is read, (n, H, W, 2): three corners move up to `moved` pixels."""
    height, width = x.shape[2:]
    third = min(height, width) // 3
    centre = x.new_tensor([height // 2, width // 2])
    corners = centre + third * x.new_tensor([[1, 1], [1, -1], [-1, -1]])
    targets = corners + uniform((len(x), 3, 2), (-moved, moved), generator, x)
    ones = torch.ones_like(targets[..., :1])
    back = torch.linalg.solve(torch.cat([targets, ones], 2).double(), corners.double().expand(len(x), -1, -1))
    places = torch.cat([plain_places(x), torch.ones_like(plain_places(x)[..., :1])], 3)
    return torch.einsum("ohwk,nkj->nhwj", places, back.to(x))


def shifts(x: Tensor, reach: float, sigma: float, generator: Generator) -> Tensor:
    """Smooth displacements (n, H, W, 2) across and down: uniform within `reach` pixels, blurred by `sigma`."""
    drawn = uniform((len(x), 2, *x.shape[2:]), (-1, 1), generator, x)
    return (gaussian(drawn, sigma, "symmetric", 3.0) * reach).permute(0, 2, 3, 1)


def _sample(x: Tensor, places: Tensor, mirrored: bool) -> Tensor:
    """Images read at places (n, H, W, 2) in pixels, linearly; beyond the border `mirrored` at or behind its pixels."""
    sides = x.new_tensor([x.shape[3], x.shape[2]])
    grid = places * 2 / (sides - 1) - 1 if mirrored else (places * 2 + 1) / sides - 1
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1), padding_mode="reflection", align_corners=mirrored)
