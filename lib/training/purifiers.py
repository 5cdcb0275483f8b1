"""What purifying networks learn from: clean faces alone, noisy to clean or by likelihood. Losses for `fit`."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import noise_of, normal
from lib.defences.pixel import PixelCNN, bits_per_pixel
from lib.errors import WorkbookError
from lib.training.batches import pixels_of
from lib.training.loop import Loss, Metrics


@dataclass(frozen=True, eq=False)
class Denoising:
    """Mean squared error, in units of [0,1], between `model(x + noise)` and x, for any module of images to images.

    images: (n, C, H, W), uint8 or in [0,1]. The noise is Gaussian, not clamped, and sized one way of two: `intensity`,
    ||noise||/||x|| with x in [-1,1], exact for each image (PIN, section IV), or `sigma`, absolute in units of [0,1].
    """

    images: Tensor
    intensity: float | None = None
    sigma: float | None = None

    def __post_init__(self) -> None:
        """Refuse noise of no size or of two."""
        if (self.intensity is None) == (self.sigma is None):
            raise WorkbookError("Denoising takes noise of one size: give intensity or sigma, and not both.")

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """{"loss"} on the images `index` (b,), on the model's device."""
        x = pixels_of(self.images, index, model)
        return {"loss": (model(self.noisy(x, generator)).float() - x).square().mean()}

    def noisy(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """x (b, C, H, W) in [0,1] plus noise."""
        if self.sigma is not None:
            return x + self.sigma * normal(x, generator)
        return x + noise_of(x, self.intensity, generator)


@dataclass(frozen=True, eq=False)
class PixelLikelihood:
    """Negative log-likelihood of gray images (n, 1, H, W), uint8 or in [0,1], under a PixelCNN, in bits per pixel.

    crop: train on squares of this many pixels, one random place for each batch: cheaper steps, but more border pixels.
    """

    images: Tensor
    crop: int | None = None

    def __call__(self, model: PixelCNN, index: LongTensor, generator: torch.Generator) -> Metrics:
        """{"loss"} on the images `index` (b,), on the model's device."""
        x = pixels_of(self.images, index, model)
        if self.crop is not None:
            top, left = (int(torch.randint(max(1, n - self.crop + 1), (), generator=generator)) for n in x.shape[2:])
            x = x[:, :, top : top + self.crop, left : left + self.crop]
        return {"loss": bits_per_pixel(model, x)}


@torch.no_grad()
def mean_loss(loss: Loss, model: nn.Module, batch: int = 32, seed: int = 0) -> float:
    """Mean of "loss" over all of `loss.images`, with the same noise on each call.

    For `fit`: held_out=functools.partial(mean_loss, Denoising(held_out_images, intensity=0.04)).
    """
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for index in torch.arange(len(loss.images)).split(batch):
        total += loss(model, index, generator)["loss"].item() * len(index)
    return total / len(loss.images)
