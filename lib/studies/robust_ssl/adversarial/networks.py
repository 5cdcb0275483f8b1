"""The network of self-adversarial training: a ResNet-18 with one, two or three sets of batch normalisation."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d, route
from lib.models.encoders import projector
from lib.models.resnets import ResNet
from lib.models.triple_norm import TripleBatchNorm1d, TripleBatchNorm2d
from lib.seeds import seeded
from lib.studies.robust_ssl.networks import Sizes

NORMS = {  # sets of statistics: layers of maps and of features
    1: (nn.BatchNorm2d, nn.BatchNorm1d),
    2: (DualBatchNorm2d, DualBatchNorm1d),
    3: (TripleBatchNorm2d, TripleBatchNorm1d),
}


class RoutedEncoder(nn.Module):
    """Images (n, 3, H, W) in [0,1] to features (n, dim) of a ResNet-18 with `norms` sets of batch normalisation.

    Which set a pass uses is its route (`lib.models.dual_norm.route`).
    """

    def __init__(self, sizes: Sizes, norms: int = 2):
        super().__init__()
        if norms not in NORMS:
            raise WorkbookError(f"An encoder has 1, 2 or 3 sets of batch normalisation, not {norms}: choose one.")
        self.trunk = ResNet(18, sizes.width, sizes.stem, NORMS[norms][0])
        self.dim = self.trunk.dim

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, dim)."""
        return self.trunk((x - 0.5) / 0.25)


def with_two_sets(encoder: RoutedEncoder) -> RoutedEncoder:
    """A copy with a clean and an adversarial set of batch normalisation, each as the encoder's one; two stay two."""
    found = copy.deepcopy(encoder)
    single = [name for name, module in found.named_modules() if type(module) is nn.BatchNorm2d]
    if any(isinstance(module, DualBatchNorm2d) for module in found.modules()):
        return found
    for name in single:
        old = found.get_submodule(name)
        both = DualBatchNorm2d(old.num_features).train(old.training)
        both.clean.load_state_dict(old.state_dict())
        both.adversarial.load_state_dict(old.state_dict())
        found.set_submodule(name, both)
    return found


class RoutedNetwork(nn.Module):
    """A `RoutedEncoder` with a projector: what the losses and the inner attacks compare is `embed`.

    layers: linear layers of the projector, each normalised as in ACL's code; 0 for none (DeACL compares features).
    """

    def __init__(self, sizes: Sizes, norms: int = 2, layers: int = 3):
        super().__init__()
        self.encoder = RoutedEncoder(sizes, norms)
        inner = self.encoder.dim
        norm = NORMS[norms][1]
        self.projector = projector(inner, sizes.hidden, sizes.dim, layers, norm) if layers else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, d)."""
        return self.projector(self.encoder(x))

    def embed(self, x: Tensor) -> Tensor:
        """Projections of unit length (n, d)."""
        return F.normalize(self(x), dim=1)


def routed_network(sizes: Sizes, norms: int, layers: int, seed: int = 0) -> RoutedNetwork:
    """A new network in channels-last memory; its first weights follow from the seed."""
    with seeded(seed):
        return RoutedNetwork(sizes, norms, layers).to(memory_format=torch.channels_last)


class OneRoute(nn.Module):
    """A network whose passes all take one route, clean or attacked images alike: how the field evaluates.

    way: "clean" or "adversarial". Any network may stand inside; without dual layers the route changes nothing.
    """

    def __init__(self, network: nn.Module, way: str = "adversarial"):
        super().__init__()
        self.network = network
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        """What the network gives."""
        with route(self.network, self.way):
            return self.network(x)
