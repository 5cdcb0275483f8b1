"""What every recogniser of the book is: pixels in [0,1] go in, `embed` gives unit vectors."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError


class Recogniser(nn.Module):
    """A face recogniser whose normalisation is its first step, so that attacks see plain pixels in [0,1].

    Subclasses implement `features(x)` on normalised images. `size` is the height and width of its input in pixels;
    `mean` and `std` (one number a channel, or one for all) are in the units of [0,1] pixels.
    """

    def __init__(
        self, name: str, size: tuple[int, int], mean: float | list[float], std: float | list[float], channels: int = 3
    ):
        super().__init__()
        self.name = name
        self.size = size
        self.channels = channels
        for key, value in (("mean", mean), ("std", std)):
            row = torch.as_tensor(value, dtype=torch.float32).reshape(-1)
            self.register_buffer(key, row.expand(channels).reshape(1, channels, 1, 1).clone(), persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, d) of normalised images (n, C, H, W)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, d) of images (n, C, H, W) in [0,1]."""
        self.check(x)
        return self.features((x - self.mean) / self.std)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings of unit length (n, d): their inner products are the cosine similarities."""
        return F.normalize(self(x), dim=1)

    def check(self, x: Tensor) -> None:
        """Raise when the images do not have this recogniser's shape. (Ranges are checked where images enter.)"""
        if x.ndim != 4 or tuple(x.shape[1:]) != (self.channels, *self.size):
            expected = f"(n, {self.channels}, {self.size[0]}, {self.size[1]})"
            hint = "; wrap it with lib.models.GrayInput for gray images" if x.ndim == 4 and x.shape[1] == 1 else ""
            raise WorkbookError(f"{self.name} expects images of shape {expected} and got {tuple(x.shape)}{hint}.")


def batch_size(given: int | None, device: torch.device) -> int:
    """Images per pass: `given`, else 32 on a CPU (more no longer fit its cache and get slower) and 256 elsewhere."""
    if given is not None and given < 1:
        raise WorkbookError(f"A batch holds at least one image, but batch = {given} came: raise it.")
    return given or (32 if device.type == "cpu" else 256)


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put `models` in eval mode; give every submodule its own flag back afterwards, exceptions included."""
    modes = {module: module.training for model in models for module in model.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def check_range(images: Tensor) -> None:
    """Refuse images with a value outside [0,1] or that is not a number: one pass over the pixels, where they enter."""
    low, high = (value.item() for value in images.detach().aminmax()) if images.numel() else (0.0, 1.0)
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # also catches NaN
        raise WorkbookError(
            f"Images are expected in [0,1], but values from {low:.4g} to {high:.4g} came: scale them and leave "
            "normalisation to the model."
        )


def embed_all(model: nn.Module, images: Tensor, batch: int | None = None) -> Tensor:
    """Unit embeddings (n, d) of many images (n, C, H, W) in [0,1], in batches, in eval mode, on the model's device."""
    check_range(images)
    return embed_any(model, images, batch)


@torch.no_grad()
def embed_any(model: nn.Module, images: Tensor, batch: int | None = None) -> Tensor:
    """`embed_all` of images that may leave [0,1], as what a defence passes on may."""
    where = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model.embed(part.to(where)).float() for part in images.split(batch_size(batch, where))])


def similarity(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Cosine similarity (P,) of pairs of images (P, C, H, W), on the CPU."""
    return (embed_all(model, x) * embed_all(model, y)).sum(1).cpu()
