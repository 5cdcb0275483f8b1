"""RoCL and ACL on the trunk that all baselines share: the core's adversarial contrast, and a trunk with batch norm.

Both sources train a ResNet-18 with batch normalisation, ACL with two sets of it. FaceTrunk has none, so that there
would be nothing to double; here each of its plain convolutions is followed by one. Differs from the sources: the
network, Adam in place of LARS, far fewer epochs.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d, route
from lib.models.encoders import projector
from lib.studies.dar_sfrl.contrastive import FACE_CROPS
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.training.adversarial_contrast import AdversarialContrast, InstanceContrast

ROBUST = ("RoCL", "ACL")


class NormedTrunk(FaceTrunk):
    """The trunk with `norm` behind each convolution that stands outside a block; same shapes.

    way: the route that pictures take through dual normalisation in `forward`, None for that of the moment.
    """

    def __init__(self, width: int = 64, norm: type[nn.Module] = nn.BatchNorm2d, way: str | None = None):
        super().__init__(width)
        self.way = way
        layers: list[nn.Module] = []
        for part in self.body:
            layers.append(part)
            if isinstance(part, nn.Conv2d):
                layers.append(norm(part.out_channels))
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The last map flattened (n, d)."""
        if self.way is None:
            return super().forward(x)
        with route(self, self.way):
            return super().forward(x)


class RobustContrasted(nn.Module):
    """A normed trunk with a head: two layers for RoCL, for ACL three with dual normalisation as in its code."""

    def __init__(self, name: str, side: int = 64, width: int = 64, hidden: int = 512, dim: int = 128):
        super().__init__()
        self.trunk = robust_trunk(name, width, way=None)
        inputs = self.trunk.features_at(side)
        dual = name == "ACL"
        self.head = projector(inputs, hidden, dim, layers=3 if dual else 2, norm=DualBatchNorm1d if dual else None)

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, dim) of images in [0,1]."""
        return self.head(self.trunk(x))

    def embed(self, x: Tensor) -> Tensor:
        """Projections of unit length (n, dim)."""
        return F.normalize(self(x), dim=1)


def robust_trunk(name: str, width: int, way: str | None = "adversarial") -> NormedTrunk:
    """The trunk of "RoCL", or of "ACL" with dual normalisation; ACL is probed on its adversarial route."""
    return NormedTrunk(width, DualBatchNorm2d, way) if name == "ACL" else NormedTrunk(width)


def robust_contrast(name: str, images: Tensor, steps: int) -> AdversarialContrast:
    """The loss of "RoCL" or "ACL" on images (n, 3, S, S), uint8 or in [0,1]; steps: of the inner attack.

    RoCL's steps are 0.007 and it takes 7 of them, ACL's 2/255 and 5.
    """
    if name == "ACL":
        return AdversarialContrast(images, FACE_CROPS, variant="dual", steps=steps)
    return InstanceContrast(images, FACE_CROPS, steps=steps)
