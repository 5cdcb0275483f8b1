"""Dual batch normalisation: clean and adversarial images have different statistics, so each gets its own layers.

Xie et al. 2020 (AdvProp, section 4) and ACL, whose second set of parameters ACL-triplet calls theta_adv. All other
weights are shared. Which set a pass uses is its route:

    with route(model, "adversarial"):
        attacked = model.embed(x + delta)
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from lib.errors import WorkbookError, choices

ROUTES = ("clean", "adversarial")


class _Dual(nn.Module):
    """Two complete normalisation layers of `channels`; the route is a setting of the moment, not part of the state."""

    norm: type[nn.Module]

    def __init__(self, channels: int):
        super().__init__()
        self.clean = self.norm(channels)
        self.adversarial = self.norm(channels)
        self.route = "clean"

    def forward(self, x: Tensor) -> Tensor:
        """(n, channels, ...) normalised by the layer of the route."""
        return getattr(self, self.route)(x)


class DualBatchNorm1d(_Dual):
    """Dual batch normalisation of features (n, channels)."""

    norm = nn.BatchNorm1d


class DualBatchNorm2d(_Dual):
    """Dual batch normalisation of maps (n, channels, H, W)."""

    norm = nn.BatchNorm2d


def copy_route(model: nn.Module, source: str = "clean", target: str = "adversarial") -> None:
    """Give every dual layer's `target` the parameters and statistics of its `source`, in place.

    For a model that has seen one kind of picture alone: its other layers are as new, and would spoil what passes them.
    """
    for module in model.modules():
        if isinstance(module, _Dual):
            getattr(module, target).load_state_dict(getattr(module, source).state_dict())


@contextmanager
def route(model: nn.Module, name: str = "clean") -> Iterator[None]:
    """Send every dual layer of `model` the way `name`; give the old routes back afterwards, exceptions included.

    name: "clean" or "adversarial". A model without dual layers passes unchanged, so that one training code serves both
    kinds.
    """
    if name not in ROUTES:
        raise WorkbookError(f"A route is one of {choices(ROUTES)}, not {name!r}: choose one of them.")
    before = {module: module.route for module in model.modules() if isinstance(module, _Dual)}
    try:
        for module in before:
            module.route = name
        yield
    finally:
        for module, old in before.items():
            module.route = old
