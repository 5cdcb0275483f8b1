"""What several corruptions share: random numbers on the device, borders, blurs, motion, enlarging."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

BORDERS = {"nearest": "aaa|abcd|ddd", "symmetric": "cba|abcd|dcb", "mirror": "dcb|abcd|cba"}


def normal(shape: tuple[int, ...], generator: Generator, like: Tensor) -> Tensor:
    """Standard normal numbers of `shape`, drawn where the generator lives, on the device of `like`."""
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


def uniform(shape: tuple[int, ...], limits: tuple[float, float], generator: Generator, like: Tensor) -> Tensor:
    """Uniform numbers of `shape` within `limits`, on the device of `like`."""
    drawn = torch.rand(shape, generator=generator, device=generator.device).to(like)
    return limits[0] + (limits[1] - limits[0]) * drawn


def whole(x: Tensor) -> Tensor:
    """Values in [0,1] cut down to whole steps of 1/255, as a conversion to bytes does; 1e-3 forgives rounding."""
    return (x * 255 + 1e-3).floor() / 255


def per_image(values: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def bordered(x: Tensor, reach: int, border: str) -> Tensor:
    """Images (n, C, H, W) with `reach` more pixels on each side; a border among `BORDERS`."""
    rows, columns = (_indices(side, reach, border).to(x.device) for side in x.shape[2:])
    return x[:, :, rows][:, :, :, columns]


def _indices(side: int, reach: int, border: str) -> Tensor:
    """Which pixel stands at -reach to side + reach - 1."""
    place = torch.arange(-reach, side + reach)
    if border == "nearest":
        return place.clamp(0, side - 1)
    period = 2 * side if border == "symmetric" else max(1, 2 * side - 2)
    place = place % period
    return torch.minimum(place, period - place - int(border == "symmetric"))


def correlate(x: Tensor, kernel: Tensor, border: str) -> Tensor:
    """Each channel of images (n, C, H, W) correlated with one kernel (k, k), k odd."""
    n, channels, height, width = x.shape
    wide = bordered(x, kernel.shape[0] // 2, border)
    flat = F.conv2d(wide.reshape(n * channels, 1, *wide.shape[2:]), kernel.to(x)[None, None])
    return flat.view(n, channels, height, width)


def gaussian(x: Tensor, sigma: float, border: str = "nearest", cut: float = 4.0) -> Tensor:
    """Gaussian blur of images (n, C, H, W) as scipy's: the kernel ends at `cut` sigma, rounded to whole pixels."""
    reach = int(cut * sigma + 0.5)
    if reach == 0:
        return x
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    kernel = torch.softmax(-(place**2) / (2 * sigma**2), 0).to(x)
    n, channels, height, width = x.shape
    flat = bordered(x, reach, border).reshape(n * channels, 1, height + 2 * reach, width + 2 * reach)
    flat = F.conv2d(F.conv2d(flat, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return flat.view(n, channels, height, width)


def along(x: Tensor, radius: int, sigma: float, angle: Tensor) -> Tensor:
    """Motion blur of images (n, C, H, W) along one direction each: `angle` (n,) in degrees.

    The mean of 2 radius + 1 copies, each one pixel further, with the weights of half a Gaussian; the border is
    repeated. It is ImageMagick's motion blur, as imagecorruptions writes it out.
    """
    n, channels, height, width = x.shape
    step = torch.arange(2 * radius + 1, dtype=torch.float64, device=x.device)
    weight = torch.softmax(-(step**2) / (2 * sigma**2), 0)
    turn = torch.deg2rad(angle.double())[:, None]
    down, across = (-(step * side - 0.5).ceil() for side in (turn.sin(), turn.cos()))
    inside = (down.abs() < height) & (across.abs() < width)
    weight = (weight * inside.cumprod(1)).to(x)  # a motion that leaves the picture ends there
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    flat = x.flatten(2)
    out = torch.zeros_like(x)
    for i in range(2 * radius + 1):
        row = (rows - down[:, i, None].long()).clamp(0, height - 1)
        column = (columns - across[:, i, None].long()).clamp(0, width - 1)
        places = (row[:, :, None] * width + column[:, None, :]).flatten(1)
        seen = flat.gather(2, places[:, None].expand(-1, channels, -1))
        out += per_image(weight[:, i]) * seen.view_as(x)
    return out


def enlarge(x: Tensor, factor: float) -> Tensor:
    """The middle of images (n, C, H, W) enlarged `factor` times, linearly, to the same size; corners stay corners."""
    crops = [math.ceil(side / factor) for side in x.shape[2:]]
    tops = [(side - crop) // 2 for side, crop in zip(x.shape[2:], crops, strict=True)]
    middle = x[:, :, tops[0] : tops[0] + crops[0], tops[1] : tops[1] + crops[1]]
    large = F.interpolate(middle, [round(crop * factor) for crop in crops], mode="bilinear", align_corners=True)
    tops = [(there - side) // 2 for there, side in zip(large.shape[2:], x.shape[2:], strict=True)]
    return large[:, :, tops[0] : tops[0] + x.shape[2], tops[1] : tops[1] + x.shape[3]]
