"""Solutions of page 01. Open exercise 01-3: choose pixels with the smallest gradients on one half of the people."""

import torch


def subspace_noise(x, mask, intensity):
    """Noise (n, C, H, W) for images x (n, C, H, W) on the pixels where mask (H, W) is 1."""
    noise = torch.randn_like(x) * mask
    scale = intensity * x.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return noise * scale.view(-1, 1, 1, 1)


def energy_share(gradient, mask):
    """Share (n,) of the energy of gradients (n, C, H, W) on the pixels where mask (H, W) is 1."""
    energy = gradient.square()
    return (energy * mask).flatten(1).sum(1) / energy.flatten(1).sum(1)
