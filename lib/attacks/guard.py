"""The guard every attack works under, and the checks of what it is given."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import check_range, evaluating

DROPOUT = nn.modules.dropout._DropoutNd


@contextmanager
def frozen(*models: nn.Module, dropout: bool = False) -> Iterator[None]:
    """Put `models` in eval mode without weight gradients; give every flag back afterwards, exceptions included.

    Each submodule's `training` and each parameter's `requires_grad` are restored one by one, so that a model that was
    partly in training or partly frozen comes back exactly so. `dropout=True` leaves the dropout layers active
    (DFANet's ensemble of thinned networks).
    """
    flags = {weight: weight.requires_grad for model in models for weight in model.parameters()}
    with evaluating(*models):
        try:
            for module in (module for model in models for module in model.modules() if dropout):
                module.training = isinstance(module, DROPOUT)
            for weight in flags:
                weight.requires_grad_(False)
            yield
        finally:
            for weight, flag in flags.items():
                weight.requires_grad_(flag)


@contextmanager
def differentiable() -> Iterator[None]:
    """Gradients on, whatever `no_grad` or `inference_mode` the caller stands in."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        yield


def device_of(*models: nn.Module) -> torch.device | None:
    """Device of the first parameter of `models`; None when they have none."""
    return next((weight.device for model in models for weight in model.parameters()), None)


def arranged(x: Tensor, *models: nn.Module) -> Tensor:
    """Images in the memory layout of the models' first convolution: spares a rearrangement in every pass."""
    kernels = (
        weight for model in models for weight in model.parameters() if weight.ndim == 4 and weight[0].numel() > 1
    )
    kernel = next(kernels, None)
    if kernel is None or kernel.is_contiguous() or not kernel.is_contiguous(memory_format=torch.channels_last):
        return x
    return x.contiguous(memory_format=torch.channels_last)


def check_images(x: Tensor, rows: int | None = None) -> None:
    """Refuse anything but finite images (n, C, H, W) in [0,1]; with `rows`, refuse another n."""
    if not isinstance(x, Tensor) or x.ndim != 4 or not x.is_floating_point():
        came = f"{tuple(x.shape)} {x.dtype}" if isinstance(x, Tensor) else type(x).__name__
        raise WorkbookError(f"Attacks take float images (n, C, H, W), but {came} came: stack and convert them first.")
    if x.numel() == 0:
        raise WorkbookError(
            f"Attacks take at least one image, but the batch {tuple(x.shape)} is empty: check its index."
        )
    check_range(x)
    if rows is not None and rows != len(x):
        raise WorkbookError(f"The objective was made for {rows} images, but {len(x)} came: pass the same rows to both.")
