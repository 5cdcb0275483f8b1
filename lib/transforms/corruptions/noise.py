"""Noise, each pixel and channel for itself. Images (n, 3, H, W) in [0,1]; the constant is one number."""

import torch
from torch import Generator, Tensor

from lib.transforms.corruptions.filters import normal


def gaussian_noise(x: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Normal noise of standard deviation `sigma`."""
    return x + sigma * normal(x.shape, generator, x)


def shot(x: Tensor, photons: float, generator: Generator) -> Tensor:
    """As many photons as a Poisson draw gives, where full light is `photons` of them."""
    rate = (x * photons).to(generator.device)
    return torch.poisson(rate, generator=generator).to(x) / photons


def impulse(x: Tensor, share: float, generator: Generator) -> Tensor:
    """A `share` of the values set to 0 or 1 with equal chance."""
    chosen, salt = (torch.rand(x.shape, generator=generator, device=generator.device).to(x) for _ in range(2))
    return torch.where(chosen < share, (salt < 0.5).to(x), x)


def speckle(x: Tensor, sigma: float, generator: Generator) -> Tensor:
    """Normal noise of standard deviation `sigma` times the light."""
    return x + x * sigma * normal(x.shape, generator, x)
