"""A small recogniser that trains in seconds: for smoke runs and for teaching, never for results on real faces."""

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.base import Recogniser


class SmallRecogniser(Recogniser):
    """Four convolution blocks on the half-size picture and a linear embedding.

    Input (n, 3, 112, 112) in [0, 1], output (n, dim). The map of the last block (7x7) is flattened, not averaged: in
    an aligned face the place of a feature tells who it is.
    """

    def __init__(self, dim: int = 64, width: int = 32):
        super().__init__("small", (112, 112), mean=0.5, std=0.25)
        self.blocks = nn.Sequential(
            _block(3, width, kernel=5, stride=2),
            _block(width, 2 * width, kernel=3, stride=2),
            _block(2 * width, 3 * width, kernel=3, stride=2),
            _block(3 * width, 3 * width, kernel=3, stride=1),
        )
        bottleneck = nn.Linear(3 * width * 7 * 7, dim, bias=False)
        self.embedding = nn.Sequential(nn.Flatten(), bottleneck, nn.BatchNorm1d(dim), nn.Linear(dim, dim))

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, dim) of normalised images (n, 3, 112, 112)."""
        return self.embedding(self.blocks(F.avg_pool2d(x, 2)))


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
