"""What a classifier decides: predicted classes, and which of them are correct."""

import torch
from torch import Tensor, nn

from lib.models.base import batch_size, evaluating


@torch.no_grad()
def decisions(model: nn.Module, images: Tensor) -> Tensor:
    """Predicted classes (n,) of images (n, C, H, W) in [0,1], in batches, in eval mode, on the CPU."""
    where = next(model.parameters()).device
    with evaluating(model):
        parts = [model(part.to(where)).argmax(1).cpu() for part in images.split(batch_size(None, where))]
    return torch.cat(parts)


def is_correct(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Which images (n, C, H, W) are classified as their labels (n,) say: (n,) bool, on the CPU."""
    return decisions(model, images) == labels.cpu()
