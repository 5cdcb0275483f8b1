"""PixelDefend: move a face to where a PixelCNN of clean faces finds it likely (Song et al. 2018, algorithm 1)."""

import math

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.errors import WorkbookError


class CausalConv(nn.Module):
    """A 3x3 convolution that sees only earlier pixels in raster order: upper left, upper, upper right, left.

    Type A (`own=False`) stops there, type B sees the pixel itself too (van den Oord et al. 2016). The weights
    (outputs, inputs, taps) hold the seen places alone, so there is nothing to mask.
    """

    def __init__(self, inputs: int, outputs: int, own: bool):
        super().__init__()
        taps = 5 if own else 4
        reach = 1 / math.sqrt(inputs * taps)
        self.weight = nn.Parameter(torch.empty(outputs, inputs, taps).uniform_(-reach, reach))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (n, inputs, H, W) to (n, outputs, H, W)."""
        kernel = F.pad(self.weight, (0, 6 - self.weight.shape[2])).unflatten(2, (2, 3))
        return F.conv2d(F.pad(x, (1, 1, 1, 0)), kernel, self.bias)

    def at(self, seen: list[Tensor]) -> Tensor:
        """The same at some pixels: `seen` holds (..., inputs) for each place, in raster order; gives (..., outputs)."""
        return F.linear(torch.cat(seen, -1), self.weight.mT.flatten(1), self.bias)

    def extra_repr(self) -> str:
        """Shown as CausalConv(1, 32, taps=4)."""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, taps={self.weight.shape[2]}"


class PixelCNN(nn.Module):
    """A small PixelCNN of gray images: P(pixel | earlier pixels) as a softmax over `levels` gray levels.

    One type A convolution, `layers - 1` residual type B convolutions, all `width` wide. PixelDefend's own model is a
    PixelCNN++ of 5.4 million weights; PIN says only that it trains one. The sizes here are ours.
    """

    def __init__(self, width: int = 32, layers: int = 5, levels: int = 256):
        super().__init__()
        if width < 1 or layers < 1 or not 2 <= levels <= 256:
            raise WorkbookError("A PixelCNN needs width and layers of at least 1 and 2 to 256 levels: correct the one.")
        self.levels = levels
        self.first = CausalConv(1, width, own=False)
        self.blocks = nn.ModuleList(CausalConv(width, width, own=True) for _ in range(layers - 1))
        self.head = nn.Conv2d(width, levels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, levels, H, W) of every pixel of images (n, 1, H, W) in [0,1], given the pixels before it."""
        h = self.first(2 * x - 1)
        for block in self.blocks:
            h = h + block(h.relu())
        return self.head(h.relu())

    def codes(self, x: Tensor) -> LongTensor:
        """The gray level, 0 ... levels-1, of each pixel of `x` in [0,1]."""
        return (x * (self.levels - 1)).round().long().clamp(0, self.levels - 1)


def bits_per_pixel(model: PixelCNN, x: Tensor) -> Tensor:
    """Mean negative log2-likelihood per pixel of images (n, 1, H, W), a scalar; knowing nothing costs log2(levels)."""
    return F.cross_entropy(model(x), model.codes(x)[:, 0]) / math.log(2)


class PixelDefend(nn.Module):
    """Purify greedily: in raster order each pixel takes the likeliest level within `eps` of the input's.

    eps in [0,1]; Song et al. take 16/255 on CIFAR-10. An image-wise eps for already likely images (their adaptive
    variant) is left out. No gradient flows: attack it by BPDA.
    """

    def __init__(self, model: PixelCNN, eps: float = 16 / 255):
        super().__init__()
        if eps < 0:
            raise WorkbookError(f"eps is at least 0, in units of [0,1], but {eps} came.")
        self.model = model
        self.eps = eps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Gray images (n, 1, H, W) in [0,1] to purified ones, on the model's gray levels."""
        if x.ndim != 4 or x.shape[1] != 1:
            raise WorkbookError(f"PixelDefend takes gray images (n, 1, H, W) and got {tuple(x.shape)}: use to_gray.")
        top = self.model.levels - 1
        return (purify(self.model, self.model.codes(x)[:, 0], round(self.eps * top)) / top).unsqueeze(1).to(x.dtype)

    def extra_repr(self) -> str:
        """All that fixes the output besides the model, for the cache's keys."""
        return f"eps={self.eps}"


class Fronts:
    """A layer's activations on the last three wavefronts; row r + 1 of a front is pixel (r, t - 2r), 0 off the image.

    A pixel of front t sees (r, c-1) and (r-1, c+1) on front t-1, (r-1, c) on t-2 and (r-1, c-1) on t-3.
    """

    def __init__(self, height: int, count: int, width: int, like: Tensor):
        self.ring = like.new_zeros(3, height + 1, count, width)

    def seen(self, t: int, low: int, high: int) -> list[Tensor]:
        """What the pixels of front t in rows low ... high-1 see, each (rows, n, width), in raster order."""
        left = self.ring[(t - 1) % 3]
        above = slice(low, high)
        return [self.ring[t % 3][above], self.ring[(t - 2) % 3][above], left[above], left[low + 1 : high + 1]]

    def write(self, t: int, low: int, high: int, value: Tensor) -> None:
        """Keep front t in the place of front t-3."""
        front = self.ring[t % 3]
        front[: low + 1] = 0  # rows that this front has left
        front[low + 1 : high + 1] = value


def purify(model: PixelCNN, codes: LongTensor, reach: int) -> LongTensor:
    """Greedy decoding of gray levels (n, H, W), each within `reach` of its input: the raster-order result, sooner.

    Pixel (r, c) depends on pixels of smaller t = c + 2r alone, so all pixels of one t are decoded at once, for all
    images: W + 2H - 2 steps instead of W * H, and every activation is computed once.
    """
    count, height, width = codes.shape
    given = codes.permute(1, 2, 0)
    found = torch.empty_like(codes).permute(1, 2, 0)
    weight = model.head.weight
    window = torch.arange(-reach, reach + 1, device=codes.device)
    top = model.levels - 1
    pixels = Fronts(height, count, 1, weight)
    layers = [Fronts(height, count, weight.shape[1], weight) for _ in model.blocks]
    for t in range(width + 2 * height - 2):
        low = max(0, (t - width + 2) // 2)
        high = min(height, t // 2 + 1)
        h = model.first.at(pixels.seen(t, low, high))
        for block, fronts in zip(model.blocks, layers, strict=True):
            own = h.relu()
            h = h + block.at([*fronts.seen(t, low, high), own])
            fronts.write(t, low, high, own)
        logits = F.linear(h.relu(), weight.flatten(1), model.head.bias)
        rows = torch.arange(low, high, device=codes.device)
        allowed = (given[rows, t - 2 * rows][..., None] + window).clamp(0, top)
        best = allowed.gather(-1, logits.gather(-1, allowed).argmax(-1, keepdim=True))
        found[rows, t - 2 * rows] = best[..., 0]
        pixels.write(t, low, high, 2 * (best / top) - 1)
    return found.permute(2, 0, 1)
