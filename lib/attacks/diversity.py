"""Input diversity: the random look at an image that makes its gradient transfer."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.attacks.settings import Settings


def diversify(x: Tensor, settings: Settings, generator: torch.Generator | None = None) -> Tensor:
    """DI2-FGSM's random resize and zero padding (Xie et al. 2019), one draw per batch, with probability `diversity`.

    Images (n, C, H, W) are resized to a random size between `resize_rate` and 1 times their width and padded to that
    width; a rate above 1 grows them instead, as in torchattacks, whose draws are repeated in order.
    """
    if settings.diversity == 0:
        return x
    small, large = sorted((x.shape[-1], int(x.shape[-1] * settings.resize_rate)))
    if small == large:
        return x
    size = _integer(small, large, generator)
    top, left = (_integer(0, large - size, generator) for _ in range(2))
    device = generator.device if generator else "cpu"
    if torch.rand(1, generator=generator, device=device).item() >= settings.diversity:
        return x
    smaller = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return F.pad(smaller, (left, large - size - left, top, large - size - top))


def _integer(low: int, high: int, generator: torch.Generator | None) -> int:
    device = generator.device if generator else "cpu"
    return int(torch.randint(low, high, (1,), generator=generator, device=device))
