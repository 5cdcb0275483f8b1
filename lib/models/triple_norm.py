"""Three sets of batch normalisation, as AdvCL (Fan et al. 2021) has them: one for clean images and two for attacked.

The third is for attacked images that are classified by their pseudo-labels:

    with labelled_route(model):
        logits = head(model.encoder(x + delta))
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d, route


class TripleBatchNorm1d(DualBatchNorm1d):
    """Triple batch normalisation of features (n, channels)."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.labelled = self.norm(channels)


class TripleBatchNorm2d(DualBatchNorm2d):
    """Triple batch normalisation of maps (n, channels, H, W)."""

    def __init__(self, channels: int):
        super().__init__(channels)
        self.labelled = self.norm(channels)


@contextmanager
def labelled_route(model: nn.Module) -> Iterator[None]:
    """Send every triple layer of `model` through its third set, every dual one through its adversarial set.

    The old routes come back afterwards, exceptions included.
    """
    with route(model, "adversarial"):
        for module in model.modules():
            if isinstance(module, TripleBatchNorm1d | TripleBatchNorm2d):
                module.route = "labelled"
        yield
