"""Table 4 without DAFR: the losses of faces and noise on an encoder, with no restoration before it (rows A and C).

The source does not say what stands for the residual there. Our reading, the simplest: the trunk's features go through
two linear layers, one for the face and one for the noise, and the same losses are laid on what these give. Row A, the
baseline, is the same network under L_face alone. Views, temperature and head are SimCLR's: with PCL's crops of a sixth
of the picture, its edges, its temperature of 0.07 and batch normalisation behind the head, the features of this
encoder hardly differed between faces after as many steps.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError, choices
from lib.models.encoders import projector
from lib.studies.dar_sfrl.contrastive import FACE_CROPS
from lib.studies.dar_sfrl.degradations import LEVELS, Degradations
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.studies.dar_sfrl.losses import LossWeights, mean_square_cosine, mixed_nt_xent, mixing, noise_contrast
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.views import Views

CONTRASTS = ("face", "noise")
NOCL = ("orthogonal", *CONTRASTS)


class Split(nn.Module):
    """A trunk whose features are split by two linear layers, with the one projection that training needs.

    `trunk` and `face` are what stay. epoch: steps between two looks at the dynamic weights.
    """

    def __init__(self, side: int = 64, width: int = 64, hidden: int = 2048, dim: int = 512, epoch: int = 100):
        super().__init__()
        self.trunk = FaceTrunk(width)
        features = self.trunk.features_at(side)
        self.face, self.noise = (nn.Linear(features, features) for _ in range(2))
        self.head = projector(features, hidden, dim)
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
    losses: those that are summed; ("face",) is the baseline, whose noise layer then learns nothing. temperature: of
    L_face.
    """

    images: Tensor
    losses: tuple[str, ...] = NOCL
    degradations: tuple[str, ...] = LEVELS
    views: Views = FACE_CROPS
    temperature: float = 0.2

    def __post_init__(self) -> None:
        """Refuse losses that do not exist."""
        if not self.losses or set(self.losses) - set(NOCL):
            raise WorkbookError(f"The losses of NOCL are {choices(NOCL)}, not {self.losses}: choose of them.")

    @cached_property
    def degrade(self) -> Degradations:
        """What the images suffer."""
        return Degradations(self.degradations)

    def __call__(self, model: Split, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on the images `index` (b,), and its parts."""
        x = pixels_of(self.images, index, model)
        found = {}
        if "orthogonal" in self.losses:
            whole = self.degrade(x, self.degrade.draw(len(x), generator), generator)
            found["orthogonal"] = mean_square_cosine(*model(whole))
        found |= self.contrasts(model, x, generator)
        weights = dict(zip(CONTRASTS, model.weights.weights, strict=True))
        loss = sum(weights.get(name, 1.0) * value for name, value in found.items())
        nothing = loss.new_tensor(torch.nan)
        model.weights.note(torch.stack([found.get(name, nothing).detach().float() for name in CONTRASTS]))
        return {"loss": loss} | {name: value.detach() for name, value in found.items()}

    def contrasts(self, model: Split, x: Tensor, generator: Generator) -> Metrics:
        """L_face with interpolated negatives and L_noise, those that are summed, of two views degraded alike."""
        kind = self.degrade.draw(len(x), generator)
        both = torch.cat([self.views(x, generator), self.views(x, generator)])
        faces, noises = model(self.degrade(both, kind.repeat(2), generator))
        rows = len(faces)
        found = {}
        if "face" in self.losses:
            found["face"] = mixed_nt_xent(faces, mixing(rows, rows - 2, generator), self.temperature)
        if "noise" in self.losses:
            found["noise"] = noise_contrast(noises, kind.to(x.device))
        return found
