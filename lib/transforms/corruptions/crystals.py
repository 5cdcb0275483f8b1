"""Frosted windows, grown by rule: the photographs of the original are not ours to ship."""

import math
from functools import cache

import torch
from torch import Generator, Tensor

# Mean colour and contrast of the original's first five photographs (its code draws from five of six), as measured.
TINTS = ((0.30, 0.58, 0.65), (0.79, 0.81, 0.84), (0.79, 0.81, 0.84), (0.54, 0.60, 0.65), (0.44, 0.48, 0.53))
CONTRASTS = (0.06, 0.07, 0.07, 0.10, 0.14)
FRONDS = 16
BRANCHES = 7


@cache
def frost_pictures(side: int = 128) -> Tensor:
    """Five frosted windows (5, 3, side, side) in [0,1], always the same: ferns of every length and fine grain."""
    generator = torch.Generator().manual_seed(0)
    pictures = []
    for tint, contrast in zip(TINTS, CONTRASTS, strict=True):
        lines = drawn_lines(fern_lines(generator) * side, side)
        field = lines + 0.15 * torch.randn(side, side, generator=generator)
        field = (field - field.mean()) / field.std() * contrast
        pictures.append((torch.tensor(tint)[:, None, None] + field).clamp(0, 1))
    return torch.stack(pictures)


def fern_lines(generator: Generator) -> Tensor:
    """Line segments (S, 4) from x, y to x, y in shares of the side: stems with branches at 60 degrees on both sides."""
    start = torch.rand(FRONDS, 2, generator=generator)
    turn = torch.rand(FRONDS, generator=generator) * 2 * math.pi
    length = 0.1 + 0.5 * torch.rand(FRONDS, generator=generator) ** 2
    along = torch.arange(BRANCHES) / BRANCHES
    roots = start[:, None] + along[:, None] * (length[:, None] * _direction(turn))[:, None]
    lines = [torch.cat([start, start + length[:, None] * _direction(turn)], 1)]
    for side in (-1, 1):
        reach = 0.4 * length[:, None, None] * (1 - along)[:, None] * _direction(turn + side * math.pi / 3)[:, None]
        lines.append(torch.cat([roots, roots + reach], 2).flatten(0, 1))
    return torch.cat(lines)


def _direction(turn: Tensor) -> Tensor:
    return torch.stack([turn.cos(), turn.sin()], -1)


def drawn_lines(lines: Tensor, side: int) -> Tensor:
    """The picture (side, side) of segments (S, 4) in pixels, each a ridge one pixel wide, the brightest on top."""
    place = torch.arange(side) + 0.5
    pixels = torch.stack(torch.meshgrid(place, place, indexing="xy"), -1).view(-1, 2)
    out = torch.zeros(len(pixels))
    for part in lines.split(64):
        start = part[:, None, :2]
        way = part[:, None, 2:] - start
        share = ((pixels - start) * way).sum(2) / way.square().sum(2).clamp_min(1e-9)
        gap = (pixels - start - share.clamp(0, 1)[..., None] * way).square().sum(2)
        out = torch.maximum(out, torch.exp(-gap / 2).amax(0))
    return out.view(side, side)
