"""A recogniser for tests: untrained, but with embeddings that spread over these faces."""

import torch

from lib.models import GrayInput, quick
from lib.models.small import SmallRecogniser


@torch.no_grad()
def spread_recogniser(images, seed=0):
    """GrayInput of a frozen small recogniser whose batch statistics are those of gray `images` (n, 1, 112, 112)."""
    torch.manual_seed(seed)
    model = SmallRecogniser(dim=16, width=8).train()
    for _ in range(40):  # the running mean and variance settle
        model(images.expand(-1, 3, -1, -1))
    return GrayInput(quick(model.eval()))
