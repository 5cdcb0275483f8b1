"""Drops of water or mud on the lens. Images (n, 3, H, W) in [0,1].

Water catches light at the rim of its drops; the original finds the rims with OpenCV, and each of its steps is written
out here for whole batches: Canny's edges, the distance to them, a histogram made even, an embossing kernel.
"""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lib.transforms.corruptions.filters import correlate, gaussian, normal

WATER, MUD = (175 / 255, 238 / 255, 238 / 255), (63 / 255, 42 / 255, 20 / 255)
LOW, HIGH = 50, 150  # Canny's thresholds
SLANT, KNIGHT = 91750 / 65536, 143976 / 65536  # 1.4 and 2.1969, as OpenCV holds them
STEPS = {(0, 1): 1.0, (1, 0): 1.0, (1, 1): SLANT, (1, 2): KNIGHT, (2, 1): KNIGHT}  # costs, by rows and columns
FAR = 20.0  # pixels; no drop's light reaches further


def spatter(x: Tensor, constants: tuple[float, ...], generator: Generator) -> Tensor:
    """Water or mud on the lens.

    constants: mean and standard deviation of the noise, the sigma of its blur, the height above which there is a drop,
    strength (water) or sigma of its rim (mud), and 0 for water, 1 for mud.
    """
    mean, spread, sigma, least, strength, mud = constants
    layer = gaussian(mean + spread * normal((len(x), 1, *x.shape[2:]), generator, x), sigma)
    layer = torch.where(layer < least, 0.0, layer)
    if mud:
        cover = gaussian((layer > least).to(x), strength)
        cover = torch.where(cover < 0.8, 0.0, cover)
        return x * (1 - cover) + cover * x.new_tensor(MUD).view(1, 3, 1, 1)
    light = water(layer)
    return x + strength * light * x.new_tensor(WATER).view(1, 3, 1, 1)


def water(layer: Tensor) -> Tensor:
    """The light (n, 1, H, W) in [0,1] of drops whose height is `layer`."""
    levels = (layer * 255 + 1e-3).floor() % 256  # bytes run over as in the original
    near = rim_distance(edges(levels)).clamp_max(FAR)
    box = torch.ones(3, 3)
    near = even((correlate(near.double(), box, "mirror") / 9).floor().to(levels))
    emboss = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    light = levels * (correlate(correlate(near, emboss, "mirror").clamp(0, 255), box, "mirror") / 9).round()
    return light / light.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)


def edges(levels: Tensor) -> Tensor:
    """Canny's edges of levels (n, 1, H, W) from 0 to 255, as bool, with Sobel's gradients and their L1 length."""
    across_kernel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    across, down = (correlate(levels, kernel, "nearest") for kernel in (across_kernel, across_kernel.T))
    length = across.abs() + down.abs()
    wide = F.pad(length, (1, 1, 1, 1))
    height, width = levels.shape[2:]

    def beside(rows: int, columns: int) -> Tensor:
        return wide[:, :, 1 + rows : 1 + rows + height, 1 + columns : 1 + columns + width]

    flat, steep = down.abs() < across.abs() * 0.4142135, down.abs() > across.abs() * 2.4142135
    same = (across < 0) == (down < 0)
    ridge = torch.where(
        flat,
        (length > beside(0, -1)) & (length >= beside(0, 1)),
        torch.where(
            steep,
            (length > beside(-1, 0)) & (length >= beside(1, 0)),
            torch.where(
                same,
                (length > beside(-1, -1)) & (length > beside(1, 1)),
                (length > beside(-1, 1)) & (length > beside(1, -1)),
            ),
        ),
    )
    weak = ridge & (length > LOW)
    found = weak & (length > HIGH)
    while True:  # weak ridges that touch an edge are edges
        grown = weak & (F.max_pool2d(found.float(), 3, 1, 1) > 0)
        if torch.equal(grown, found):
            return found
        found = grown


def rim_distance(edge: Tensor) -> Tensor:
    """How far each pixel lies from an edge (n, 1, H, W), up to `FAR`, along steps of 1, 1.4 and 2.1969 (Borgefors)."""
    found = torch.where(edge, 0.0, FAR + 1)
    steps = [(r, c, cost) for r in range(-2, 3) for c in range(-2, 3) if (cost := STEPS.get((abs(r), abs(c))))]
    height, width = edge.shape[2:]
    while True:
        wide = F.pad(found, (2, 2, 2, 2), value=FAR + 1)
        shorter = found
        for row, column, cost in steps:
            there = wide[:, :, 2 + row : 2 + row + height, 2 + column : 2 + column + width]
            shorter = torch.minimum(shorter, there + cost)
        if torch.equal(shorter, found):
            return found
        found = shorter


def even(levels: Tensor) -> Tensor:
    """Whole levels (n, 1, H, W) from 0 to 255 with an even histogram, as OpenCV's equalizeHist."""
    n = len(levels)
    pixels = levels[0].numel()
    flat = levels.flatten(1).long()
    counts = torch.zeros(n, 256, device=levels.device).scatter_add_(1, flat, torch.ones_like(flat, dtype=torch.float32))
    first = (counts > 0).int().argmax(1, keepdim=True)
    lowest = counts.gather(1, first)
    total = counts.cumsum(1) - lowest
    table = (total * 255 / (pixels - lowest).clamp_min(1)).round().clamp(0, 255)
    table = torch.where(lowest == pixels, torch.arange(256, device=levels.device).float(), table)  # one level stays
    return table.gather(1, flat).view_as(levels).to(levels)
