"""NOCL without DAFR (row C of Table 4): the losses of faces and noise on an encoder, with no restoration before it.

The source does not say what stands for the residual there. Our reading, the simplest: the trunk's features go through
two linear layers, one for the face and one for the noise, and the same losses are laid on what these give.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.studies.dar_sfrl.degradations import LEVELS, Degradations
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.studies.dar_sfrl.losses import LossWeights, mean_square_cosine, mixed_nt_xent, mixing, noise_contrast
from lib.studies.dar_sfrl.training import head
from lib.studies.dar_sfrl.views import CROPS
from lib.training.batches import pixels_of
from lib.training.loop import Metrics


class Split(nn.Module):
    """A trunk whose features are split by two linear layers, with the one projection that training needs.

    `trunk` and `face` are what stay. epoch: steps between two looks at the dynamic weights.
    """

    def __init__(self, side: int = 64, width: int = 64, hidden: int = 2048, dim: int = 512, epoch: int = 100):
        super().__init__()
        self.trunk = FaceTrunk(width)
        features = self.trunk.features_at(side)
        self.face, self.noise = (nn.Linear(features, features) for _ in range(2))
        self.head = head(features, hidden, dim)
        self.weights = LossWeights(2, epoch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Projected features f and n (n, dim) of images in [0,1]."""
        features = self.trunk(x)
        return self.head(self.face(features)), self.head(self.noise(features))


class FacePart(nn.Module):
    """A trunk followed by its linear face layer: images (n, 3, S, S) in [0,1] to features (n, d)."""

    def __init__(self, side: int, width: int):
        super().__init__()
        self.trunk = FaceTrunk(width)
        features = self.trunk.features_at(side)
        self.face = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        return self.face(self.trunk(x))


@dataclass(frozen=True, eq=False)
class NoiseOrthogonal:
    """L_face + L_noise + L_orth of a `Split` on images (n, 3, S, S), uint8 or in [0,1], as the paper's recipe has them.

    L_face and L_noise on two views degraded alike, L_orth on whole degraded frames; dynamic weights of the contrasts.
    """

    images: Tensor
    degradations: tuple[str, ...] = LEVELS

    @cached_property
    def degrade(self) -> Degradations:
        """What the images suffer."""
        return Degradations(self.degradations)

    def __call__(self, model: Split, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on the images `index` (b,), and its parts."""
        x = pixels_of(self.images, index, model)
        orthogonal = mean_square_cosine(*model(self.degrade(x, self.degrade.draw(len(x), generator), generator)))
        kind = self.degrade.draw(len(x), generator)
        faces, noises = model(self.degrade(CROPS.pair(x, generator), kind.repeat(2), generator))
        rows = len(faces)
        face = mixed_nt_xent(faces, mixing(rows, rows - 2, generator))
        noise = noise_contrast(noises, kind.to(x.device))
        contrasts = torch.stack([face, noise])
        loss = orthogonal + (model.weights.weights * contrasts).sum()
        model.weights.note(contrasts.detach())
        return {"loss": loss, "orthogonal": orthogonal.detach(), "face": face.detach(), "noise": noise.detach()}
