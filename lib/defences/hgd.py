"""The denoising U-net of HGD (Liao et al., CVPR 2018, "Defense Against Adversarial Attacks Using High-Level
Representation Guided Denoiser", section 3.2: DUNET). Its loss, a recogniser behind it, is what makes it HGD.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError

WIDTHS = (1, 2, 4, 4, 4)  # of the five scales, as multiples of `width`: 64, 128, 256, 256, 256 in the paper
DOWN = (2, 3, 3, 3, 3)  # convolutions of each block, on the way down and on the way up
UP = (3, 3, 3, 2)


class Denoiser(nn.Module):
    """DUNET: a U-net that adds to an image the negative of the noise it sees in it.

    Five scales, each half the one before, of 3x3 convolutions with batch normalisation and ReLU; on the way up the
    coarser map is enlarged bilinearly and joined with the map of its scale; a 1x1 convolution gives the correction.
    The paper does not say how that one starts: here at zero, so that an untrained denoiser changes nothing. `width`
    64 is the paper's. The output is not clamped, so that gradients pass; it may leave [0,1] by a little.
    """

    def __init__(self, width: int = 64, channels: int = 1):
        super().__init__()
        if width < 1:
            raise WorkbookError(f"A denoiser needs a width of at least 1, not {width}; the paper's is 64.")
        self.width = width
        self.channels = channels
        sizes = [width * factor for factor in WIDTHS]
        inner = [channels, *sizes[:-1]]
        strides = (1, 2, 2, 2, 2)
        self.down = nn.ModuleList(map(_block, inner, sizes, DOWN, strides))
        joined = [below + here for below, here in zip(sizes[:0:-1], sizes[-2::-1], strict=True)]
        self.up = nn.ModuleList(map(_block, joined, sizes[-2::-1], UP))
        self.correction = nn.Conv2d(width, channels, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, channels, H, W) in [0,1] to denoised images of the same shape."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise WorkbookError(
                f"This denoiser takes images (n, {self.channels}, H, W), but {tuple(x.shape)} came: convert them."
            )
        # A fresh copy: a one-channel image may carry channels-last strides, which torch's CPU convolution mishandles.
        maps = [x.clone(memory_format=torch.contiguous_format)]
        for block in self.down:
            maps.append(block(maps[-1]))
        found = maps.pop()
        for block, lateral in zip(self.up, maps[:0:-1], strict=True):
            found = F.interpolate(found, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
            found = block(torch.cat([found, lateral], dim=1))
        return x + self.correction(found)

    def __str__(self) -> str:
        """Short, for the names of defended recognisers."""
        return f"HGD denoiser (width {self.width})"


def _block(inner: int, outer: int, count: int, stride: int = 1) -> nn.Sequential:
    """`count` times 3x3 convolution, batch normalisation, ReLU; the first convolution has the stride."""
    layers = []
    for turn in range(count):
        convolution = nn.Conv2d(outer if turn else inner, outer, 3, 1 if turn else stride, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(outer), nn.ReLU()]
    return nn.Sequential(*layers)
