"""Random numbers for defences that draw: fixed by the image alone, so that no result depends on its batch."""

import torch
from torch import Tensor

STRIDE = 0x1E3779B97F4A7C15  # odd: products lose no bits
FIRST = 0x5851F42D4C957F2D
SECOND = 0x2545F4914F6CDD1D


def image_seeded_uniform(x: Tensor, count: int, seed: int | None) -> Tensor:
    """Uniform [0, 1) numbers (n, count), float32, for images `x` (n, C, H, W) in [0,1].

    With a seed, an image's numbers are a hash of the seed and of its 8-bit pixels: the same in any batch and on any
    call, unrelated between the two images of a pair. With None they are fresh on each call (torch's global generator),
    which is what an attack that averages over draws needs.
    """
    if seed is None:
        return torch.rand(len(x), count, device=x.device)
    pixels = x.detach().flatten(1).mul(255).round().long()
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randint(-(2**62), 2**62, (pixels.shape[1],), generator=generator).to(x.device)
    key = (pixels * weights).sum(1, keepdim=True)  # int64 wraps around: a random linear map modulo 2^64
    bits = key + STRIDE * torch.arange(1, count + 1, device=x.device)
    for factor in (FIRST, SECOND):
        bits = (bits ^ (bits >> 29)) * factor
    return ((bits >> 40) & 0xFFFFFF).float() / 2**24
