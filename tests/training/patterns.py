"""People who are easy to tell apart: each a symmetric pattern of black and white blocks, in noisy pictures."""

import torch
import torch.nn.functional as F


def patterned(people=12, each=4, side=16, seed=0):
    """uint8 pictures (people * each, 3, side, side) and labels; another seed: other noise on the same people."""
    codes = torch.randperm(256, generator=torch.Generator().manual_seed(0))[:people]
    half = (codes[:, None] >> torch.arange(8) & 1).float().view(people, 1, 4, 2)
    blocks = torch.cat([half, half.flip(3)], dim=3).repeat_interleave(each, 0).expand(-1, 3, -1, -1)
    noise = 0.1 * torch.randn(people * each, 3, side, side, generator=torch.Generator().manual_seed(seed))
    images = (F.interpolate(blocks, size=(side, side)) + noise).clamp(0, 1)
    return (255 * images).byte(), torch.arange(people).repeat_interleave(each)
