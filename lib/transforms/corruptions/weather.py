"""Weather. Images (n, 3, H, W) in [0,1]."""

import torch
from torch import Generator, Tensor

from lib.transforms.colour import to_gray
from lib.transforms.corruptions.crystals import frost_pictures
from lib.transforms.corruptions.filters import along, enlarge, normal, uniform, whole


def brightness(x: Tensor, added: float, generator: Generator) -> Tensor:
    """`added` to the value of HSV, hue and saturation kept."""
    value = x.amax(1, keepdim=True)
    ratio = torch.where(value > 0, x / value.clamp_min(1e-12), 1.0)
    return ratio * (value + added).clamp(0, 1)


def fog(x: Tensor, constants: tuple[float, float], generator: Generator) -> Tensor:
    """A cloud added, the brightest value kept; constants: amount, and decay of the cloud's detail."""
    amount, decay = constants
    side = 1 << (max(x.shape[2:]) - 1).bit_length()
    cloud = clouds(len(x), side, decay, generator, x)[:, None, : x.shape[2], : x.shape[3]]
    most = x.amax((1, 2, 3), keepdim=True)
    return (x + amount * cloud) * most / (most + amount)


def clouds(n: int, side: int, decay: float, generator: Generator, like: Tensor) -> Tensor:
    """Plasma (n, side, side) in [0,1] by diamond and square; `side` a power of two, the plane a torus."""
    field = torch.zeros(n, side, side, dtype=like.dtype, device=like.device)
    step = side
    wobble = 100.0
    while step >= 2:
        half = step // 2

        def moved(total: Tensor, wobble: float = wobble) -> Tensor:
            return total / 4 + wobble * uniform(tuple(total.shape), (-wobble, wobble), generator, like)

        corners = field[:, ::step, ::step]
        total = corners + corners.roll(-1, 1)
        field[:, half::step, half::step] = moved(total + total.roll(-1, 2))
        middles, corners = field[:, half::step, half::step], field[:, ::step, ::step]
        field[:, ::step, half::step] = moved(middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        field[:, half::step, ::step] = moved(middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        step = half
        wobble = wobble / decay
    low, high = field.amin((1, 2), keepdim=True), field.amax((1, 2), keepdim=True)
    return (field - low) / (high - low)


def frost(x: Tensor, constants: tuple[float, float], generator: Generator) -> Tensor:
    """A piece of a frosted window added; constants: what is kept of the picture and of the frost.

    The original cuts pieces out of photographs; ours grow in `crystals`, so only amounts are the original's.
    """
    kept, added = constants
    bank = frost_pictures(max(128, 2 * max(x.shape[2:]))).to(x)
    limits = (len(bank), *(there - side + 1 for there, side in zip(bank.shape[2:], x.shape[2:], strict=True)))
    which, top, left = (
        torch.randint(limit, (len(x),), generator=generator, device=generator.device).to(x.device) for limit in limits
    )
    rows = top[:, None] + torch.arange(x.shape[2], device=x.device)
    columns = left[:, None] + torch.arange(x.shape[3], device=x.device)
    channel = torch.arange(3, device=x.device)[:, None, None]
    piece = bank[which[:, None, None, None], channel, rows[:, None, :, None], columns[:, None, None, :]]
    return kept * x + added * piece


def snow(x: Tensor, constants: tuple[float, ...], generator: Generator) -> Tensor:
    """Flakes driven by the wind before a picture that pales.

    constants: mean and standard deviation of the noise, enlargement of its grains, the height above which one is a
    flake, radius and sigma of their motion in pixels, and the share of the picture that does not pale.
    """
    mean, spread, grain, least, radius, sigma, kept = constants
    noise = mean + spread * normal((len(x), 1, *x.shape[2:]), generator, x)
    flakes = enlarge(noise, grain)
    flakes = whole(torch.where(flakes < least, 0.0, flakes).clamp(0, 1))
    flakes = along(flakes, radius, sigma, uniform((len(x),), (-135, -45), generator, x))
    flakes = (flakes * 255).round() / 255
    pale = kept * x + (1 - kept) * torch.maximum(x, to_gray(x) * 1.5 + 0.5)
    return pale + flakes + flakes.flip(2, 3)
