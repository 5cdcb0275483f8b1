"""Random views of images: the augmentations of SimCLR (Chen et al. 2020, appendix A), one draw per image, in batches.

The images stay on their device; every random number comes from a CPU generator, so that a resumed run sees the same
views. kornia's augmentations draw per image too, but from torch's global generator alone, and take about twice as long
(`make bench` prints the ratio); for the same draws both give the same pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from lib.errors import WorkbookError
from lib.transforms.augmentations import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    crop_to,
    gaussian_blur,
    resized_crop,
)
from lib.transforms.colour import to_gray

TRIES = 10  # torchvision's, for a crop that fits


@dataclass(frozen=True)
class Views:
    """`views(x, generator)`: one random view of each image (n, 1 or 3, H, W) in [0,1], in [0,1]: of the same shape, or
    (n, ..., size, size) where a size is given.

    In this order: crop and flip, colour jitter, gray, blur. crop: share of the area, ratio: width by height, both as in
    torchvision's RandomResizedCrop but not rounded to whole pixels; flip, jitter_p, gray, blur: probabilities; jitter:
    strengths of brightness, contrast, saturation (factors within 1 +- strength) and hue (turns), in an order drawn once
    per batch; sigma: of the blur, in pixels. Gray images know no saturation, hue or gray.
    """

    crop: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1)
    jitter_p: float = 0.8
    gray: float = 0.2
    blur: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)
    size: int | None = None

    def __post_init__(self) -> None:
        """Refuse ranges and probabilities that are none."""
        for name, most in {"crop": 1.0, "ratio": torch.inf, "sigma": torch.inf}.items():
            low, high = getattr(self, name)
            if not 0 < low <= high <= most:
                raise WorkbookError(
                    f"{name} of views is a range (low, high) in (0, {most}], not {(low, high)}: fix it."
                )
        for name in ("flip", "jitter_p", "gray", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise WorkbookError(f"{name} of views is a probability, not {getattr(self, name)}: take 0 to 1.")
        if len(self.jitter) != 4 or min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise WorkbookError(f"jitter of views is four strengths from 0, hue to 0.5, not {self.jitter}: fix it.")
        if self.size is not None and self.size < 1:
            raise WorkbookError(f"size of views is a number of pixels from 1, or None, not {self.size}: fix it.")

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of each row; a row's view depends on its own pixels and the draws alone."""
        if x.ndim != 4 or x.shape[1] not in (1, 3) or not x.is_floating_point():
            raise WorkbookError(
                f"Views take float images (n, 1 or 3, H, W) in [0,1], but {tuple(x.shape)} {x.dtype} came: convert."
            )
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round the pixels
            x = self.cropped(x, generator)
            x = on_some(x, self.jitter_p, generator, lambda part: self.jittered(part, generator))
            x = on_some(x, self.gray, generator, lambda part: to_gray(part).expand_as(part))
            return on_some(x, self.blur, generator, lambda part: self.blurred(part, generator)).clamp(0, 1)

    def cropped(self, x: Tensor, generator: Generator) -> Tensor:
        """A random part of every row, some mirrored, brought to the size asked for."""
        resized = self.size is not None and x.shape[2:] != (self.size, self.size)
        if self.crop == (1, 1) and self.flip == 0 and not resized:
            return x
        box = random_boxes(len(x), *x.shape[2:], self.crop, self.ratio, generator).to(x.device)
        flip = _chosen(len(x), self.flip, generator).to(x.device)
        return crop_to(x, box, flip, self.size) if resized else resized_crop(x, box, flip)

    def jittered(self, x: Tensor, generator: Generator) -> Tensor:
        """Colour jitter of every row."""
        adjust = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
        for turn in torch.randperm(4 if x.shape[1] == 3 else 2, generator=generator).tolist():
            strength = self.jitter[turn]
            centre = 0.0 if turn == 3 else 1.0
            low = centre - strength if turn == 3 else max(0.0, centre - strength)
            draw = uniform(len(x), (low, centre + strength), generator).to(x.device)
            x = adjust[turn](x, draw) if strength > 0 else x
        return x

    def blurred(self, x: Tensor, generator: Generator) -> Tensor:
        """Gaussian blur of every row; the kernel spans a tenth of the picture, as in SimCLR."""
        size = 2 * round(min(x.shape[2:]) / 20) + 1
        return gaussian_blur(x, uniform(len(x), self.sigma, generator).to(x.device), size)


@dataclass(frozen=True)
class MultiCrop:
    """`crops(x, generator)`: several views of each image, of any number and size, as SwAV and DINO take them.

    kinds: how many views, and of which kind: ((2, Views(crop=(0.14, 1.0))), (4, Views(crop=(0.05, 0.14), size=16))).
    """

    kinds: tuple[tuple[int, Views], ...]

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        if not self.kinds or min(count for count, _ in self.kinds) < 1:
            raise WorkbookError(f"Crops come in one kind or more, each at least once, not as {self.kinds}: add some.")

    def __call__(self, x: Tensor, generator: Generator) -> list[Tensor]:
        """The views of images x (n, C, H, W), kind after kind, each (n, C, H, W) or of its kind's size."""
        return [views(x, generator) for count, views in self.kinds for _ in range(count)]


SIMCLR = Views(crop=(0.08, 1.0), jitter=(0.8, 0.8, 0.8, 0.2))  # its ImageNet setting
ACL = Views(crop=(0.1, 1.0), blur=0.0)
# In an aligned face a tenth of the area is a cheek or an eye, and proportions tell who it is: a crop keeps half of the
# face or more and nearly its shape. Sigma is in pixels, and 48-112 of them carry what SimCLR's 224 do.
FACES = Views(crop=(0.5, 1.0), ratio=(0.9, 1 / 0.9), sigma=(0.1, 1.0))


def uniform(count: int, limits: tuple[float, float], generator: Generator) -> Tensor:
    """Numbers (count,) within `limits`, on the CPU."""
    return torch.rand(count, generator=generator) * (limits[1] - limits[0]) + limits[0]


def _chosen(count: int, share: float, generator: Generator) -> Tensor:
    return torch.rand(count, generator=generator) < share


def on_some(x: Tensor, share: float, generator: Generator, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change` applied to each row with probability `share`; the other rows come back as they are."""
    rows = _chosen(len(x), share, generator).nonzero().squeeze(1).to(x.device)
    return x.index_copy(0, rows, change(x[rows])) if len(rows) else x


def random_boxes(
    count: int, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float], generator: Generator
) -> Tensor:
    """Crops (count, 4) as top, left, height, width in shares of the sides.

    As in RandomResizedCrop: area uniform, ratio log-uniform, the first of ten draws that fits, else the whole picture.
    """
    areas = uniform(count * TRIES, area, generator)
    logs = uniform(count * TRIES, (math.log(ratio[0]), math.log(ratio[1])), generator)
    ratios = logs.exp() * (height / width)  # of shares, no longer of pixels
    sides = torch.stack([(areas / ratios).sqrt(), (areas * ratios).sqrt()], dim=1).view(count, TRIES, 2)
    fits = (sides <= 1).all(2)
    first = sides[torch.arange(count), fits.int().argmax(1)]
    sides = torch.where(fits.any(1, keepdim=True), first, 1.0)
    return torch.cat([torch.rand(count, 2, generator=generator) * (1 - sides), sides], dim=1)
