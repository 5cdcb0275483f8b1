"""A small recogniser that trains in seconds: for smoke runs and for teaching, never for results on real faces."""

from torch import Tensor, nn

from lib.models.base import Recogniser


class SmallRecogniser(Recogniser):
    """Five convolution blocks and a linear embedding; input (n, 3, 112, 112) in [0, 1], output (n, dim).

    The blocks halve the picture five times (112 -> 4 pixels); the embedding sees the places of the last map, because
    in an aligned face the place of a feature tells who it is.
    """

    def __init__(self, dim: int = 64, width: int = 24):
        super().__init__("small", (112, 112), mean=0.5, std=0.25)
        widths = (3, width, 2 * width, 3 * width, 4 * width, 4 * width)
        kernels = (5, 3, 3, 3, 3)
        self.blocks = nn.Sequential(*map(_block, widths, widths[1:], kernels))
        self.embedding = nn.Sequential(
            nn.Flatten(), nn.Linear(widths[-1] * 4 * 4, dim, bias=False), nn.BatchNorm1d(dim, affine=False)
        )

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, dim) of normalised images (n, 3, 112, 112)."""
        return self.embedding(self.blocks(x))


def _block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """A convolution of stride 2, batch normalisation and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())
