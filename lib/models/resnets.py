"""ResNet trunks (He et al. 2016) of any width: torchvision's start at 64 channels, too many for a laptop."""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from lib.errors import WorkbookError, choices

Norm = Callable[[int], nn.Module]  # channels -> normalisation layer, e.g. nn.BatchNorm2d or DualBatchNorm2d
# depth: bottleneck blocks?, blocks in each of the four stages
DEPTHS = {18: (False, (2, 2, 2, 2)), 34: (False, (3, 4, 6, 3)), 50: (True, (3, 4, 6, 3))}
# stem: kernel and stride of the first convolution, max pooling behind it?
STEMS = {"small": (3, 1, False), "half": (3, 2, False), "imagenet": (7, 2, True)}


class ResNet(nn.Module):
    """Normalised images (n, channels, H, W) to features (n, dim): a stem, four stages of blocks, an average.

    depth: 18 or 34 (basic blocks, dim = 8 width), 50 (bottlenecks with the stride in the 3x3, dim = 32 width).
    width: channels of the first stage, doubled at each next one; 64 is the published network. stem: "small", a 3x3
    convolution at full size (32-pixel images, the CIFAR variant); "half", the same with stride 2 (faces of 48-64
    pixels); "imagenet", 7x7 with stride 2 and max pooling (112 pixels and more). The stages shrink by another 8.
    """

    def __init__(
        self, depth: int = 18, width: int = 64, stem: str = "small", norm: Norm = nn.BatchNorm2d, channels: int = 3
    ):
        super().__init__()
        check_sizes("A ResNet", tuple(DEPTHS), depth, width, stem)
        bottleneck, repeats = DEPTHS[depth]
        self.stem = _stem(stem, channels, width, norm)
        inner = width
        blocks = []
        for stage, count in enumerate(repeats):
            hidden = width * 2**stage
            outer = hidden * (4 if bottleneck else 1)
            strides = [1 if stage == 0 else 2] + [1] * (count - 1)
            inners = [inner] + [outer] * (count - 1)
            body = _bottleneck if bottleneck else _basic
            pairs = zip(inners, strides, strict=True)
            blocks.append(nn.Sequential(*(Block(body, i, hidden, outer, s, norm) for i, s in pairs)))
            inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.dim = inner
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, dim)."""
        return self.blocks(self.stem(x)).mean((2, 3))


class Block(nn.Module):
    """relu(body(x) + x); a 1x1 convolution brings x to the body's shape where that differs."""

    def __init__(
        self, body: Callable[..., list[nn.Module]], inner: int, hidden: int, outer: int, stride: int, norm: Norm
    ):
        super().__init__()
        self.body = nn.Sequential(*body(inner, hidden, outer, stride, norm))
        # Every second place by pooling, not by the convolution's stride: the same numbers, but torch 2.15 on a CPU ends
        # the process in the weight gradient of a strided 1x1 convolution of 8 channels in channels_last memory.
        thinned = [nn.AvgPool2d(1, stride)] if stride > 1 else []
        same = stride == 1 and inner == outer
        self.shortcut = nn.Sequential(*([] if same else [*thinned, *_conv(inner, outer, 1, 1, norm)]))

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H', W')."""
        return (self.body(x) + self.shortcut(x)).relu_()


def _conv(inner: int, outer: int, kernel: int, stride: int, norm: Norm) -> list[nn.Module]:
    """A convolution without bias that keeps the size (up to its stride), and its normalisation."""
    return [nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False), norm(outer)]


def _basic(inner: int, hidden: int, outer: int, stride: int, norm: Norm) -> list[nn.Module]:
    return [*_conv(inner, hidden, 3, stride, norm), nn.ReLU(inplace=True), *_conv(hidden, outer, 3, 1, norm)]


def _bottleneck(inner: int, hidden: int, outer: int, stride: int, norm: Norm) -> list[nn.Module]:
    narrow = [*_conv(inner, hidden, 1, 1, norm), nn.ReLU(inplace=True)]
    spatial = [*_conv(hidden, hidden, 3, stride, norm), nn.ReLU(inplace=True)]
    return [*narrow, *spatial, *_conv(hidden, outer, 1, 1, norm)]


def _stem(kind: str, channels: int, width: int, norm: Norm) -> nn.Sequential:
    kernel, stride, pooled = STEMS[kind]
    layers = [*_conv(channels, width, kernel, stride, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(3, 2, 1)] if pooled else []))


def check_sizes(what: str, depths: Sequence[int], depth: int, width: int, stem: str) -> None:
    """Refuse depths and stems that do not exist, and no width."""
    for name, allowed, given in (("depth", depths, depth), ("stem", tuple(STEMS), stem)):
        if given not in allowed:
            raise WorkbookError(f"{what}'s {name} is one of {choices(list(allowed))}, not {given!r}: choose one.")
    if width < 1:
        raise WorkbookError(f"{what}'s width is the channels of its first stage, at least 1, not {width}: raise it.")
