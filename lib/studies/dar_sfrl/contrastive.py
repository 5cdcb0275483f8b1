"""SimCLR (Chen et al. 2020) and MoCo v2 (He et al. 2020) on faces, on the trunk that all baselines share.

Losses for `fit`; the models keep no state of theirs.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.losses.joint_embedding import queued_contrast
from lib.models.encoders import projector
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.studies.dar_sfrl.losses import nt_xent
from lib.studies.dar_sfrl.training import head
from lib.studies.dar_sfrl.views import CROPS, FaceViews
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.training.state import EMA, Queue, StatefulLoss
from lib.transforms.views import Views

# Whole faces and large crops, no vertical flip, little hue: what suits aligned faces.
FACE_CROPS = Views(crop=(0.2, 1.0), jitter=(0.4, 0.4, 0.4, 0.1))


class Contrasted(nn.Module):
    """A trunk with SimCLR's head of two layers; `trunk` is what stays."""

    def __init__(self, side: int = 64, width: int = 64, hidden: int = 512, dim: int = 128):
        super().__init__()
        self.trunk = FaceTrunk(width)
        self.head = projector(self.trunk.features_at(side), hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, dim) of images in [0,1]."""
        return self.head(self.trunk(x))


class FaceContrasted(nn.Module):
    """A trunk with PCL's head, whose batch normalisation keeps features apart; `trunk` is what stays.

    Without it, at the temperature of 0.07, the trunk gives all faces one feature and the loss stays at chance.
    """

    def __init__(self, side: int = 64, width: int = 64, hidden: int = 2048, dim: int = 512):
        super().__init__()
        self.trunk = FaceTrunk(width)
        self.head = head(self.trunk.features_at(side), hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, dim) of images in [0,1]."""
        return self.head(self.trunk(x))


@dataclass(frozen=True, eq=False)
class SimCLR:
    """NT-Xent of two views of each of the images (n, 3, S, S), uint8 or in [0,1].

    The numbers are those of lightly's NTXentLoss, by the core's function.
    """

    images: Tensor
    views: Views = FACE_CROPS
    temperature: float = 0.2

    def __call__(self, model: Contrasted, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        both = torch.cat([self.views(x, generator), self.views(x, generator)])
        return {"loss": nt_xent(model(both), self.temperature)}


@dataclass(frozen=True, eq=False)
class FaceContrast:
    """DAR's "baseline" (Table 4), which it does not describe: PCL's face contrast alone, without restoration."""

    images: Tensor
    views: FaceViews = CROPS
    temperature: float = 0.07

    def __call__(self, model: FaceContrasted, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        return {"loss": nt_xent(model(self.views.pair(x, generator)), self.temperature)}


class MoCo(StatefulLoss):
    """MoCo v2's InfoNCE of images (n, 3, S, S): one view by the encoder, one by its slow copy, against a queue of keys.

    The trunk has no batch norm, so that no keys need to be shuffled.
    """

    def __init__(
        self,
        images: Tensor,
        model: Contrasted,
        queue: int = 4096,
        momentum: float = 0.99,
        views: Views = FACE_CROPS,
        temperature: float = 0.2,
    ):
        super().__init__()
        if queue < 1 or not 0 <= momentum < 1:
            raise WorkbookError(f"MoCo needs a queue and a momentum in [0,1), not {queue} and {momentum}: change them.")
        self.images = images
        self.momentum = momentum
        self.views = views
        self.temperature = temperature
        self.slow = EMA(model)
        self.queue = Queue(queue, model.head[-1].out_features, seed=int(torch.randint(2**31, ())))

    def forward(self, model: Contrasted, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,), and the "keys" (b, dim) that `update` puts into the queue."""
        x = pixels_of(self.images, index, model)
        query = F.normalize(model(self.views(x, generator)), dim=1)
        with torch.no_grad():
            keys = F.normalize(self.slow(self.views(x, generator)), dim=1)
        return {"loss": queued_contrast(query, keys, self.queue.rows, self.temperature), "keys": keys}

    def update(self, model: Contrasted, rows: dict[str, Tensor]) -> None:
        """The newest keys take the place of the oldest; the slow copy follows."""
        self.queue.push(rows["keys"])
        self.slow.follow(model, self.momentum)
