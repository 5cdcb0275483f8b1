"""The encoder that all self-supervised baselines share: FaceCycle's 16 convolutions, as PCL has them, at any width.

Only the objective differs then. DAR's and PCL's tables do not say which encoder their SimCLR and MoCo had.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError

SLOPE = 0.1  # of the leaky ReLU


class PositionAttention(nn.Module):
    """PCL's attention over channels and positions: x plus (phi theta^T) g, through a leaky ReLU.

    theta is a softmax over positions, g one over channels; phi theta^T is (c, c).
    """

    def __init__(self, channels: int):
        super().__init__()
        self.g, self.theta, self.phi = (nn.Conv2d(channels, channels, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, H, W) to the same shape."""
        g = self.g(x).flatten(2).softmax(1)
        theta = self.theta(x).flatten(2).softmax(2)
        found = (self.phi(x).flatten(2) @ theta.transpose(1, 2)) @ g
        return F.leaky_relu(x + found.view_as(x), SLOPE)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a skip, without normalisation."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, H, W) to the same shape."""
        return F.leaky_relu(self.second(F.leaky_relu(self.first(x), SLOPE)) + x, SLOPE)


def conv(inner: int, outer: int, stride: int = 1, kernel: int = 3) -> list[nn.Module]:
    """A convolution with bias and a leaky ReLU."""
    return [nn.Conv2d(inner, outer, kernel, stride, kernel // 2), nn.LeakyReLU(SLOPE)]


def branch(channels: int) -> nn.Sequential:
    """Two convolutions on the last map: PCL's face and pose branches."""
    return nn.Sequential(*conv(channels, channels), *conv(channels, channels))


class FaceTrunk(nn.Module):
    """Images (n, 3, S, S) in [0,1] to a map (n, 2 width, S/16, S/16); width 64 and S = 64 are the published ones.

    The map flattened is PCL's F_0, 2048 numbers at 64 pixels, on which its probe stands.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        double = 2 * width
        self.width = width
        self.body = nn.Sequential(
            *conv(3, width, 2, kernel=7),
            *conv(width, width),
            *conv(width, width),
            PositionAttention(width),
            *conv(width, width),
            *conv(width, double, 2),
            PositionAttention(double),
            *conv(double, double),
            ResidualBlock(double),
            ResidualBlock(double),
            *conv(double, double, 2),
            *conv(double, double),
            *conv(double, 2 * double, 2),
            *conv(2 * double, double),
        )
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                fan = part.kernel_size[0] * part.kernel_size[1] * part.out_channels
                nn.init.normal_(part.weight, 0.0, (2 / fan) ** 0.5)
                nn.init.zeros_(part.bias)

    def features_at(self, side: int) -> int:
        """Numbers in the flattened map of images of `side` pixels."""
        if side % 16:
            raise WorkbookError(f"The trunk halves its images four times: take a multiple of 16, not {side} pixels.")
        return 2 * self.width * (side // 16) ** 2

    def map(self, x: Tensor) -> Tensor:
        """The last map (n, 2 width, S/16, S/16)."""
        return self.body(x)

    def forward(self, x: Tensor) -> Tensor:
        """The last map flattened (n, d): what probes stand on."""
        return self.body(x).flatten(1)


class Branched(nn.Module):
    """A trunk followed by one of PCL's branches: its face feature F_f (n, d), to compare with F_0."""

    def __init__(self, trunk: FaceTrunk, branch: nn.Module):
        super().__init__()
        self.trunk, self.branch = trunk, branch

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, d)."""
        return self.branch(self.trunk.map(x)).flatten(1)


class Averaged(nn.Module):
    """The mean over positions of a trunk's map, (n, channels): a shorter feature for the contrastive heads."""

    def __init__(self, trunk: FaceTrunk):
        super().__init__()
        self.trunk = trunk

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, 2 width)."""
        return torch.mean(self.trunk.map(x), dim=(2, 3))
