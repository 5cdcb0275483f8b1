"""The one network that every family trains: a ResNet trunk, a projector, and what only some families need on top."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead
from torch import Tensor, nn

from lib.models.resnets import ResNet
from lib.seeds import seeded


class Encoder(nn.Module):
    """Images (n, 3, H, W) in [0,1] to features (n, dim) of a ResNet-18: what stays of pre-training."""

    def __init__(self, width: int = 8, stem: str = "half"):
        super().__init__()
        self.trunk = ResNet(18, width, stem)
        self.dim = self.trunk.dim

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, dim)."""
        return self.trunk((x - 0.5) / 0.25)


@dataclass(frozen=True)
class Sizes:
    """Of a network: width and stem of the ResNet-18, projector `hidden` and `dim`, number of prototypes."""

    width: int = 8
    stem: str = "half"
    hidden: int = 256
    dim: int = 128
    prototypes: int = 128


class JointEmbedding(nn.Module):
    """An encoder with lightly's projector, linear, norm, ReLU, linear, the same for every family.

    predictor: hidden features of SimSiam's and BYOL's, of the same form; 0: none. prototypes: SwAV's and DINO's; they
    have unit length, so their products with unit projections are cosines (DINO's weight-normalised last layer is the
    same thing).
    """

    def __init__(self, sizes: Sizes, predictor: int = 0, prototypes: bool = False):
        super().__init__()
        self.encoder = Encoder(sizes.width, sizes.stem)
        self.projector = BYOLProjectionHead(self.encoder.dim, sizes.hidden, sizes.dim)
        self.predictor = BYOLPredictionHead(sizes.dim, predictor, sizes.dim) if predictor else nn.Identity()
        self.dim = sizes.dim
        rows = torch.randn(sizes.prototypes if prototypes else 0, sizes.dim)
        self.prototypes = nn.Parameter(rows, requires_grad=prototypes)

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, dim)."""
        return self.projector(self.encoder(x))

    def unit(self, x: Tensor) -> Tensor:
        """Projections of unit length (n, dim)."""
        return F.normalize(self(x), dim=1)

    def cosines(self, x: Tensor) -> Tensor:
        """Cosines (n, K) with the prototypes."""
        return self.unit(x) @ F.normalize(self.prototypes, dim=1).T


def network(sizes: Sizes, predictor: int, prototypes: bool, seed: int = 0) -> JointEmbedding:
    """A new network; the encoder's first weights depend on the seed alone, and not on the family."""
    with seeded(seed):
        return JointEmbedding(sizes, predictor, prototypes)


class SupervisedNetwork(nn.Module):
    """The encoder with one linear layer: logits (n, classes) of images in [0,1]."""

    def __init__(self, sizes: Sizes, classes: int):
        super().__init__()
        self.encoder = Encoder(sizes.width, sizes.stem)
        self.layer = nn.Linear(self.encoder.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.layer(self.encoder(x))
