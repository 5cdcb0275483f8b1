"""What takes the attacks' place in training: kinds of degradation by name, each a label of the noise contrast.

The source speaks of "different levels of noise" without saying which; its code adds Gaussian noise of 0.4 and no other.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor

from lib.attacks.budgets import normal, uniform
from lib.errors import WorkbookError, choices
from lib.transforms.augmentations import gaussian_blur
from lib.transforms.corruptions.jpeg import jpeg_rounded

Degrade = Callable[[Tensor, Generator], Tensor]


def gaussian(x: Tensor, generator: Generator, sigma: float) -> Tensor:
    """Images plus normal noise of this size, in units of [0,1], not clamped, as in the source."""
    return x + sigma * normal(x, generator)


def signs(x: Tensor, generator: Generator, size: float) -> Tensor:
    """Images with each value moved by plus or minus `size`: noise as large as a sign attack, with no aim."""
    return x + size * torch.where(uniform(x, generator) < 0.5, -1.0, 1.0)


def shift(x: Tensor, generator: Generator, size: float) -> Tensor:
    """Images brighter or darker by up to `size`, each by one number."""
    return x + size * (2 * uniform(x, generator, (len(x), 1, 1, 1)) - 1)


def blurred(x: Tensor, generator: Generator, sigma: float) -> Tensor:
    """Images under a Gaussian blur, sigma in pixels."""
    return gaussian_blur(x, x.new_full((len(x),), sigma), 2 * math.ceil(2 * sigma) + 1)


def pixelated(x: Tensor, generator: Generator, factor: int) -> Tensor:
    """Images averaged over squares of `factor` pixels."""
    return F.interpolate(F.avg_pool2d(x, factor), size=x.shape[2:])


def compressed(x: Tensor, generator: Generator, quality: int) -> Tensor:
    """Images after JPEG of this quality, which clamps them to [0,1]."""
    return jpeg_rounded(x, quality)


KINDS: dict[str, Degrade] = {
    "none": lambda x, generator: x,
    "noise 0.05": partial(gaussian, sigma=0.05),
    "noise 0.1": partial(gaussian, sigma=0.1),
    "noise 0.2": partial(gaussian, sigma=0.2),
    "noise 0.4": partial(gaussian, sigma=0.4),
    "signs 8/255": partial(signs, size=8 / 255),
    "shift 8/255": partial(shift, size=8 / 255),
    "blur": partial(blurred, sigma=1.0),
    "pixels": partial(pixelated, factor=2),
    "jpeg": partial(compressed, quality=20),
}
LEVELS = ("noise 0.05", "noise 0.1", "noise 0.2", "signs 8/255", "blur", "jpeg")
STRONG = ("noise 0.4",)


@dataclass(frozen=True)
class Degradations:
    """A choice of `KINDS`: `degradations(x, kind, generator)` degrades image i as its kind[i] says."""

    names: tuple[str, ...] = LEVELS

    def __post_init__(self) -> None:
        """Refuse unknown kinds."""
        if not self.names or set(self.names) - set(KINDS):
            raise WorkbookError(f"Degradations are among {choices(list(KINDS))}, not {self.names}: choose of them.")

    def draw(self, count: int, generator: Generator) -> LongTensor:
        """A random kind for each of `count` images."""
        return torch.randint(len(self.names), (count,), generator=generator)

    @torch.no_grad()
    def __call__(self, x: Tensor, kind: LongTensor, generator: Generator) -> Tensor:
        """Images (n, 3, H, W) in [0,1] of kinds (n,) to degraded ones, not clamped."""
        found = x.clone()
        for place, name in enumerate(self.names):
            rows = (kind == place).nonzero().flatten().to(x.device)
            if len(rows):
                found[rows] = KINDS[name](x[rows], generator)
        return found
