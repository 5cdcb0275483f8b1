"""Classifiers: a trunk with a linear layer, what a model decides, and which decisions are correct."""

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import batch_size, evaluating


class Classifier(nn.Module):
    """Images (n, C, H, W) in [0,1] to logits (n, classes): a trunk and one linear layer on its features.

    trunk: gives features (n, trunk.dim), as `lib.models.resnets.ResNet` and those of `lib.models.preact` do; what
    normalises pixels is a part of it.
    """

    def __init__(self, trunk: nn.Module, classes: int):
        super().__init__()
        if classes < 2:
            raise WorkbookError(f"A classifier tells 2 or more classes apart, not {classes}: raise the number.")
        self.trunk = trunk
        self.fc = nn.Linear(trunk.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.fc(self.trunk(x))


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
