"""Registration of two pictures of the same face that has no landmarks in one of them."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, grid_sample

STEPS = 50
RATE = 0.01
STIFFNESS = 2.0
UNIT = 50.0  # pixels: a shift of one unit weighs as much as a scale or rotation of one


def register(fixed: Tensor, moving: Tensor, box: tuple[int, int, int, int]) -> np.ndarray:
    """The similarities (n, 2, 3) that take pixels of `fixed` to the matching pixels of `moving`.

    Both are gray, float (n, 1, S, S). Only the part of `fixed` in `box` (top, bottom, left, right) has to match. The
    normalised cross-correlation is maximised: over whole shifts at half resolution first, then by gradient ascent over
    shift, scale and rotation, with a small price on the last two.
    """
    top, bottom, left, right = box
    goal = _standard(fixed[:, 0, top:bottom, left:right])
    y, x = torch.meshgrid(torch.arange(top, bottom).float(), torch.arange(left, right).float(), indexing="ij")
    grid = torch.stack([x - (left + right) / 2, y - (top + bottom) / 2], dim=-1)
    centre = torch.tensor([left + right, top + bottom]) / 2
    shift = _best_shift(fixed, moving, box)
    with torch.enable_grad():
        free = torch.cat([torch.zeros_like(shift), shift / UNIT], dim=1).requires_grad_()
        optimiser = torch.optim.Adam([free], lr=RATE)
        for _ in range(STEPS):
            seen = _standard(_sample(moving, _maps(free), grid, centre))
            loss = STIFFNESS * free[:, :2].square().sum() - (seen * goal).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    matrix = _maps(free.detach())
    offset = matrix[:, :, 2] + centre - matrix[:, :, :2] @ centre
    return torch.cat([matrix[:, :, :2], offset[:, :, None]], dim=2).double().numpy()


def _maps(free: Tensor) -> Tensor:
    """Scale - 1, rotation and shift (n, 4) as similarities (n, 2, 3) about the box's centre."""
    a = 1 + free[:, 0]
    b = free[:, 1]
    x = UNIT * free[:, 2]
    y = UNIT * free[:, 3]
    return torch.stack([torch.stack([a, -b, x], 1), torch.stack([b, a, y], 1)], 1)


def _sample(moving: Tensor, matrix: Tensor, grid: Tensor, centre: Tensor) -> Tensor:
    at = torch.einsum("nij,hwj->nhwi", matrix[:, :, :2], grid) + (matrix[:, :, 2] + centre)[:, None, None]
    at = 2 * at / (moving.shape[-1] - 1) - 1
    return grid_sample(moving, at, padding_mode="border", align_corners=True)[:, 0]


def _standard(patches: Tensor) -> Tensor:
    """Patches (n, h, w) with mean 0 and norm 1."""
    centred = patches - patches.mean((1, 2), keepdim=True)
    return centred / centred.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None]


def _best_shift(fixed: Tensor, moving: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    """The whole shift (n, 2), x and y in pixels, with the largest normalised cross-correlation."""
    top, bottom, left, right = (edge // 2 for edge in box)
    patch = _standard(avg_pool2d(fixed, 2)[:, 0, top:bottom, left:right])[:, None]
    half = avg_pool2d(moving, 2)
    window = patch.shape[-2:]
    hits = conv2d(half.transpose(0, 1), patch, groups=len(patch))[0]
    variance = avg_pool2d(half.square(), window, 1) - avg_pool2d(half, window, 1).square()
    best = (hits / variance[:, 0].clamp_min(1e-6).sqrt()).flatten(1).argmax(1)
    return 2 * torch.stack([best % hits.shape[-1] - left, best // hits.shape[-1] - top], dim=1).float()
