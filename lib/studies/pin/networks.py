"""PIN's networks: the denoising autoencoder (Table I), the eigenvector-selection network (II) and its head (III).

The tables give one line a level; the released code has two convolutions there, which is what stands here.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from lib.defences.pca import Basis, coefficients
from lib.errors import WorkbookError


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.PReLU(outputs))


class DenoisingAutoencoder(nn.Module):
    """Table I: three levels down to (4*width) x 14 x 14 and three up, applied twice in series with the same weights.

    Images (n, 1, H, W) in [0,1] to denoised ones in [0,1] (a tanh in [-1,1], as the source normalises). `width` is the
    first level's: 64 in the source. H and W are multiples of 8.
    """

    def __init__(self, width: int = 64):
        super().__init__()
        sizes = [1, width, 2 * width, 4 * width]
        down = [layer for a, b in pairwise(sizes) for layer in (_conv(a, b), _conv(b, b, 2))]
        up = [layer for a, b in pairwise(sizes[:0:-1]) for layer in (self._rise(a), _conv(a, b))]
        last = nn.Sequential(self._rise(width), nn.Conv2d(width, 1, 3, 1, 1, bias=False), nn.Tanh())
        self.layers = nn.Sequential(*down, *up, last)
        self._keep_the_scale()

    @torch.no_grad()
    def _keep_the_scale(self) -> None:
        """Weights with which a picture reaches the tanh; with torch's own ones the output starts, and stays, flat."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25)
            if isinstance(module, nn.ConvTranspose2d):  # a stride of 2 meets a quarter of the kernel at each place
                nn.init.kaiming_normal_(module.weight, a=0.25, mode="fan_out").mul_(2)
        self.layers[-1][1].weight.mul_(0.3)

    @staticmethod
    def _rise(channels: int) -> nn.Sequential:
        return nn.Sequential(nn.ConvTranspose2d(channels, channels, 3, 2, 1, 1, bias=False), nn.PReLU(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The denoised images."""
        if x.shape[2] % 8 or x.shape[3] % 8:
            raise WorkbookError(f"The autoencoder takes sides that are multiples of 8, not {tuple(x.shape)}: resize.")
        return (self.layers(self.layers(2 * x - 1)) + 1) / 2


class Block(nn.Module):
    """Two 3x3 convolutions with a PReLU after each, and a 1x1 shortcut even where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, outputs, stride), _conv(outputs, outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, H, W) to (n, outputs, H/stride, W/stride)."""
        return self.body(x) + self.shortcut(x)


class Agent(nn.Module):
    """Tables II and III: an image to the logits of N independent Bernoullis, one an eigenvector.

    Images (n, 1, H, W) in [0,1] to logits (n, N). `width` (64 in the source) is the first level's, the last has eight
    times as many channels; `hidden` (512) is the head's. `denoiser`, frozen, goes before; None leaves it out.
    """

    def __init__(
        self,
        components: int,
        width: int = 64,
        hidden: int = 512,
        denoiser: nn.Module | None = None,
        size: tuple[int, int] = (112, 112),
    ):
        super().__init__()
        if components < 1 or size[0] % 16 or size[1] % 16:
            raise WorkbookError(
                "An agent chooses among at least one eigenvector of images whose sides are multiples of 16, "
                f"not among {components} of {size[0]} x {size[1]} pixels: change these."
            )
        self.denoiser = denoiser
        if denoiser is not None:
            denoiser.requires_grad_(False)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        blocks = [layer for a, b in pairwise(widths) for layer in (Block(a, b, 2), Block(b, b, 1))]
        self.selection = nn.Sequential(_conv(1, width), *blocks, nn.Flatten())
        flat = widths[-1] * (size[0] // 16) * (size[1] // 16)
        self.head = nn.Sequential(nn.Linear(flat, hidden), nn.PReLU(hidden), nn.Linear(hidden, components))
        self._keep_the_scale()

    @torch.no_grad()
    def _keep_the_scale(self) -> None:
        """Weights for which features keep their size through the blocks and every probability starts near a half.

        With torch's own ones the features of the last block are 0.002 and hardly differ between faces.
        """
        for module in self.selection.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=0.25)
        for module in self.selection:
            if isinstance(module, Block):
                module.body[-1][0].weight.mul_(0.5**0.5)
                module.shortcut.weight.mul_(0.5**0.5)
        self.head[-1].weight.mul_(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, N); their sigmoid is the probability of keeping each eigenvector."""
        if self.denoiser is not None:
            x = self.denoiser(x)
        return self.head(self.selection(2 * x - 1))


class CoefficientAgent(nn.Module):
    """Ours: a logit from each coefficient's own size, `steepness * (|a_j| - level_j)`; two numbers an eigenvector.

    It sees what decides a direction's worth, |a_j| (the oracle's rule in closed form), and no more. A convolutional
    agent must guess 2500 such sizes through 512 hidden units. With one level for all it is the hard threshold.
    """

    def __init__(self, basis: Basis):
        super().__init__()
        self.register_buffer("vectors", basis.vectors)
        self.register_buffer("mean", basis.mean)
        self.level = nn.Parameter(torch.full((len(basis),), 0.1))
        self.log_steepness = nn.Parameter(torch.full((len(basis),), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) in [0,1] to logits (n, N)."""
        return self.log_steepness.exp() * (coefficients(x, self).abs() - self.level)
