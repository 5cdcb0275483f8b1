"""The views of PCL, which DAR-SFRL takes over: crops from two quadrants, colour, blur and edges."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lib.errors import WorkbookError
from lib.transforms.augmentations import resized_crop
from lib.transforms.views import Views, on_some

COLOUR = Views(crop=(1.0, 1.0), flip=0.0, jitter=(0.8, 0.8, 0.8, 0.2), blur=0.8, sigma=(0.1, 2.0))
GRAY = (65.738 / 256, 129.057 / 256, 25.064 / 256)  # of PCL's edges
EDGES = 0.6  # probability


def edges(x: Tensor) -> Tensor:
    """The length of the gradient of each image's luma, (n, 3, H, W) to the same shape in [0,1].

    PCL calls it Sobel; its kernels are central differences without Sobel's smoothing.
    """
    luma = (x * x.new_tensor(GRAY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    padded = F.pad(luma, (1, 1, 1, 1))
    down = padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]
    across = padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]
    return (down.square() + across.square() + 1e-6).sqrt().clamp(max=1).expand_as(x)


@dataclass(frozen=True)
class FaceViews:
    """`views(x, generator)`: one random view of each image (n, 3, H, W) in [0,1]; same shape, in [0,1].

    side: share of the sides that a crop takes; 1 leaves the frame whole (PCL's pose branch crops nothing).
    """

    side: float = 0.4
    colour: Views = COLOUR
    edges: float = EDGES

    def __post_init__(self) -> None:
        """Refuse crops larger than the picture."""
        if not 0 < self.side <= 1:
            raise WorkbookError(f"A crop takes a share of the sides in (0, 1], not {self.side}: change it.")

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of each row."""
        return self.coloured(self.cropped(x, self.quadrants(len(x), 1, generator)[0], generator), generator)

    @torch.no_grad()
    def pair(self, x: Tensor, generator: Generator) -> Tensor:
        """Two views of each row (2n, 3, H, W), whose crops are centred in different quadrants."""
        first, second = self.quadrants(len(x), 2, generator)
        both = [self.cropped(x, quadrant, generator) for quadrant in (first, second)]
        return self.coloured(torch.cat(both), generator)

    def quadrants(self, count: int, views: int, generator: Generator) -> Tensor:
        """Different quadrants, numbered 0 to 3 row by row, for the views of each image: (views, count)."""
        return torch.rand(count, 4, generator=generator).argsort(1)[:, :views].T

    def cropped(self, x: Tensor, quadrant: Tensor, generator: Generator) -> Tensor:
        """Crops centred at a random place of `quadrant` (n,), moved inward where they would leave the picture."""
        if self.side == 1:
            return x
        corner = torch.stack([quadrant // 2, quadrant % 2], dim=1) / 2
        centre = corner + torch.rand(len(x), 2, generator=generator) / 2
        start = (centre - self.side / 2).clamp(0, 1 - self.side)
        box = torch.cat([start, torch.full_like(start, self.side)], dim=1).to(x.device)
        return resized_crop(x, box, torch.zeros(len(x), dtype=torch.bool, device=x.device))

    def coloured(self, x: Tensor, generator: Generator) -> Tensor:
        """Colour jitter, gray and blur, then edges, each with its probability."""
        return on_some(self.colour(x, generator), self.edges, generator, edges)


CROPS = FaceViews()
WHOLE = FaceViews(side=1.0)
