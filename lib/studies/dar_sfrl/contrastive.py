"""SimCLR (Chen et al. 2020) and MoCo v2 (He et al. 2020) on faces, on the trunk that all baselines share.

Losses for `fit`. What MoCo carries from step to step, its momentum encoder and its queue, lies in the model, so that a
checkpoint holds it.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models.encoders import projector
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.studies.dar_sfrl.losses import nt_xent
from lib.studies.dar_sfrl.views import CROPS, FaceViews
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
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

    def __call__(self, model: Contrasted, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        return {"loss": nt_xent(model(self.views.pair(x, generator)), self.temperature)}


class MoCo(Contrasted):
    """A `Contrasted` with its slow copy and a queue of keys (size, dim), unit rows; the trunk has no batch norm, so
    that no keys need to be shuffled."""

    def __init__(
        self,
        side: int = 64,
        width: int = 64,
        hidden: int = 512,
        dim: int = 128,
        queue: int = 4096,
        momentum: float = 0.99,
    ):
        super().__init__(side, width, hidden, dim)
        if queue < 1 or not 0 <= momentum < 1:
            raise WorkbookError(f"MoCo needs a queue and a momentum in [0,1), not {queue} and {momentum}: change them.")
        self.momentum = momentum
        self.slow = copy.deepcopy(nn.ModuleList([self.trunk, self.head])).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue, dim), dim=1))
        self.register_buffer("place", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def keys(self, x: Tensor) -> Tensor:
        """Unit keys (n, dim) of images by the slow copy."""
        return F.normalize(self.slow[1](self.slow[0](x)), dim=1)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the slow copy towards the weights by a step of exponential averaging."""
        own = nn.ModuleList([self.trunk, self.head])
        for slow, fast in zip(self.slow.parameters(), own.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put the newest keys (n, dim) in place of the oldest."""
        rows = (int(self.place) + torch.arange(len(keys), device=self.queue.device)) % len(self.queue)
        self.queue[rows] = keys.to(self.queue.dtype)
        self.place.fill_((int(self.place) + len(keys)) % len(self.queue))


@dataclass(frozen=True, eq=False)
class QueueContrast:
    """MoCo v2's InfoNCE of images (n, 3, S, S): one view by the encoder, one by the slow copy, against the queue."""

    images: Tensor
    views: Views = FACE_CROPS
    temperature: float = 0.2

    def __call__(self, model: MoCo, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,); afterwards the keys are in the queue."""
        x = pixels_of(self.images, index, model)
        model.follow()
        query = F.normalize(model(self.views(x, generator)).float(), dim=1)
        keys = model.keys(self.views(x, generator)).float()
        positive = (query * keys).sum(1, keepdim=True)
        logits = torch.cat([positive, query @ model.queue.clone().T], dim=1) / self.temperature
        model.enqueue(keys)
        return {"loss": F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.long, device=x.device))}
