"""CIFAR's training views: a random crop of the padded image, and a flip, one draw per image."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def crop_flip(x: Tensor, generator: Generator, pad: int = 4) -> Tensor:
    """Images (n, C, H, W) padded by `pad` zeros, cropped back to (H, W) at a random place, mirrored with chance 1/2.

    The numbers come from the CPU `generator`, so that a resumed run sees the same crops.
    """
    n, channels, height, width = x.shape
    top, left = (torch.randint(2 * pad + 1, (n, 1), generator=generator) for _ in range(2))
    flip = torch.rand(n, 1, generator=generator) < 0.5
    rows = top + torch.arange(height)
    columns = left + torch.arange(width)
    columns = torch.where(flip, columns.flip(1), columns)
    image = torch.arange(n)[:, None, None, None]
    channel = torch.arange(channels)[:, None, None]
    places = (image, channel, rows[:, None, :, None], columns[:, None, None])  # in this order the memory is plain NCHW
    return F.pad(x, [pad] * 4)[tuple(place.to(x.device) for place in places)]
