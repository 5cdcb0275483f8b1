"""Pre-activation trunks of any width: PreActResNet (He et al. 2016b) and WideResNet (Zagoruyko and Komodakis 2016).

A block normalises and rectifies before each convolution and adds its input untouched, so the sum that leaves the last
block is neither normalised nor rectified: the `tail` does both.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.resnets import DEPTHS, STEMS, Norm, check_sizes

PLAIN = tuple(depth for depth, (bottleneck, _) in DEPTHS.items() if not bottleneck)  # depths of two 3x3 a block


class PreActTrunk(nn.Module):
    """Images (n, channels, H, W) to features (n, dim): a stem, stages of blocks, norm and ReLU, an average.

    widths: the channels of each stage; repeats: its blocks. Each stage but the first halves height and width.
    `inner` is what the stem gives.
    """

    def __init__(self, stem: nn.Sequential, inner: int, widths: Sequence[int], repeats: Sequence[int], norm: Norm):
        super().__init__()
        stages = []
        for stage, (outer, count) in enumerate(zip(widths, repeats, strict=True)):
            blocks = [PreActBlock(inner, outer, 2 if stage else 1, norm)]
            blocks += [PreActBlock(outer, outer, 1, norm) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            inner = outer
        self.stem = stem
        self.blocks = nn.Sequential(*stages)
        self.tail = _norm_relu(inner, norm)
        self.dim = inner
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, dim)."""
        return self.tail(self.blocks(self.stem(x))).mean((2, 3))


class PreActResNet(PreActTrunk):
    """depth: 18 or 34. width: channels of the first stage of four (dim = 8 width); 64 is the published network.

    stem: as for `ResNet`, but the convolution alone; "small" is the one of 32- and 64-pixel images.
    """

    def __init__(
        self, depth: int = 18, width: int = 64, stem: str = "small", norm: Norm = nn.BatchNorm2d, channels: int = 3
    ):
        check_sizes("A PreActResNet", PLAIN, depth, width, stem)
        kernel, stride, pooled = STEMS[stem]
        first = nn.Sequential(_conv(channels, width, kernel, stride), *([nn.MaxPool2d(3, 2, 1)] if pooled else []))
        super().__init__(first, width, [width * 2**stage for stage in range(4)], DEPTHS[depth][1], norm)


class WideResNet(PreActTrunk):
    """WRN-depth-widen: a 3x3 stem of `base` channels, three stages of (depth - 4) / 6 blocks, dim = 4 base widen.

    base: 16 in the published networks. Without dropout, as in the networks of adversarial training.
    """

    def __init__(
        self, depth: int = 28, widen: int = 10, base: int = 16, norm: Norm = nn.BatchNorm2d, channels: int = 3
    ):
        if depth < 10 or depth % 6 != 4:
            raise WorkbookError(f"A WideResNet's depth is 10, 16, 22, 28 and so on in sixes, not {depth}: change it.")
        if min(widen, base) < 1:
            raise WorkbookError(f"A WideResNet's widen and base are at least 1, not {widen} and {base}: raise them.")
        first = nn.Sequential(_conv(channels, base, 3, 1))
        super().__init__(first, base, [base * widen * 2**stage for stage in range(3)], [(depth - 4) // 6] * 3, norm)


class PreActBlock(nn.Module):
    """x + body(relu(norm(x))); where the shapes differ a 1x1 convolution of relu(norm(x)) takes the place of x."""

    def __init__(self, inner: int, outer: int, stride: int, norm: Norm):
        super().__init__()
        self.enter = _norm_relu(inner, norm)
        same = stride == 1 and inner == outer
        self.body = nn.Sequential(_conv(inner, outer, 3, stride), *_norm_relu(outer, norm), _conv(outer, outer, 3, 1))
        # every second place by pooling, not by the convolution's stride: see `lib.models.resnets.Block`
        thinned = [nn.AvgPool2d(1, stride)] if stride > 1 else []
        self.shortcut = None if same else nn.Sequential(*thinned, _conv(inner, outer, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C', H', W')."""
        entered = self.enter(x)
        return self.body(entered) + (x if self.shortcut is None else self.shortcut(entered))


def _conv(inner: int, outer: int, kernel: int, stride: int) -> nn.Conv2d:
    """A convolution without bias that keeps the size, up to its stride."""
    return nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)


def _norm_relu(channels: int, norm: Norm) -> nn.Sequential:
    return nn.Sequential(norm(channels), nn.ReLU(inplace=True))
