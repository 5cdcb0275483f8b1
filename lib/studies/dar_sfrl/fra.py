"""FRA (Gao and Patras 2024): BYOL whose global and facial-region embeddings agree across two views."""

import copy
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.models.encoders import projector
from lib.models.resnets import ResNet
from lib.studies.dar_sfrl.contrastive import FACE_CROPS
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.views import Views

SHARPNESS = (0.1, 0.04)  # temperatures of the assignments: student, target
APART = 0.02  # price of regions that resemble each other
WEIGHTS = (0.5, 0.5, 0.1)  # of the global, the region and the cluster loss


class RegionTrunk(nn.Module):
    """A ResNet-18 up to its third stage: images (n, 3, S, S) in [0,1] to the mean (n, 4 width) of its map.

    The map is (S/4, S/4): the published one has 49 places, too few at small sizes for regions.
    """

    def __init__(self, width: int = 16):
        super().__init__()
        whole = ResNet(18, width, "small")
        self.dim = 4 * width
        self.body = nn.Sequential(whole.stem, *list(whole.blocks)[:3])

    def map(self, x: Tensor) -> Tensor:
        """The map (n, 4 width, S/4, S/4)."""
        return self.body((x - 0.5) / 0.25)

    def forward(self, x: Tensor) -> Tensor:
        """What the probe stands on."""
        return self.map(x).mean((2, 3))


class Seen(NamedTuple):
    """One view: global embedding (n, d), region embeddings (n, K, d), dots of pixels and masks (n, places, K)."""

    whole: Tensor
    regions: Tensor
    dots: Tensor


class Regions(nn.Module):
    """Trunk, the three MLPs, and the decoder whose learned queries become mask embeddings."""

    def __init__(self, width: int, masks: int, hidden: int, dim: int):
        super().__init__()
        self.trunk = RegionTrunk(width)
        inner = self.trunk.dim
        self.whole, self.pixel, self.region, self.mask = (
            projector(inner, hidden, dim, norm=nn.BatchNorm1d) for _ in range(4)
        )
        self.queries = nn.Parameter(torch.randn(masks, inner) / math.sqrt(inner))
        layer = nn.TransformerDecoderLayer(inner, 8 if inner % 8 == 0 else 1, 2 * inner, 0.0, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The trunk's features."""
        return self.trunk(x)

    def see(self, x: Tensor) -> Seen:
        """Embeddings of images; the mask embeddings are averaged over the batch, as in training."""
        tokens = self.trunk.map(x).flatten(2).transpose(1, 2)
        n, places, inner = tokens.shape
        found = self.decoder(self.queries.expand(n, -1, -1), tokens)
        masks = F.normalize(self.mask(found.flatten(0, 1)).view(n, len(self.queries), -1).mean(0), dim=1)
        pixels = F.normalize(self.pixel(tokens.flatten(0, 1)).view(n, places, -1), dim=2)
        dots = pixels @ masks.T
        heat = dots.softmax(2)
        means = heat.transpose(1, 2) @ tokens / heat.sum(1)[:, :, None]
        regions = self.region(means.flatten(0, 1)).view(n, len(self.queries), -1)
        return Seen(self.whole(tokens.mean(1)), regions, dots)


class FRA(nn.Module):
    """A student with predictors, and its target, an exponential average whose momentum rises to 1 over `steps`."""

    def __init__(
        self, width: int = 16, masks: int = 4, hidden: int = 512, dim: int = 64, steps: int = 1000, start: float = 0.996
    ):
        super().__init__()
        self.student = Regions(width, masks, hidden, dim)
        self.predict_whole, self.predict_region = (projector(dim, hidden, dim, norm=nn.BatchNorm1d) for _ in range(2))
        self.target = copy.deepcopy(self.student).requires_grad_(False)
        self.steps, self.start = steps, start
        self.register_buffer("step", torch.zeros((), dtype=torch.long))

    @property
    def trunk(self) -> RegionTrunk:
        """What stays."""
        return self.student.trunk

    @property
    def momentum(self) -> float:
        """Of the target, by a cosine from `start` to 1."""
        share = min(1.0, int(self.step) / self.steps)
        return 1 - (1 - self.start) * (math.cos(math.pi * share) + 1) / 2

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target towards the student."""
        for slow, fast in zip(self.target.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
        self.step += 1


@torch.no_grad()
def sinkhorn(shares: Tensor, rounds: int = 3) -> Tensor:
    """Assignments (m, K), rows of sum 1, balanced over the masks; the source hands it probabilities."""
    shares = shares / shares.sum()
    for _ in range(rounds):
        shares = shares / shares.sum(0, keepdim=True) / shares.shape[1]
        shares = shares / shares.sum(1, keepdim=True) / shares.shape[0]
    return shares * shares.shape[0]


def agreement(predicted: Tensor, target: Tensor) -> Tensor:
    """2 less twice the mean cosine along the last axis."""
    return (2 - 2 * F.cosine_similarity(predicted, target, dim=-1)).mean()


def cluster_loss(student: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the student's assignments to the target's balanced ones, and ln K less the mean's entropy.

    student, target: dots (n, places, K) of the same view.
    """
    told = (student / SHARPNESS[0]).flatten(0, 1)
    wanted = sinkhorn((target / SHARPNESS[1]).flatten(0, 1).softmax(1))
    mean = told.softmax(1).mean(0)
    return F.cross_entropy(told, wanted) + math.log(told.shape[1]) - torch.special.entr(mean).sum()


@dataclass(frozen=True, eq=False)
class RegionAgreement:
    """FRA's loss for `fit`, symmetric over two views of images (n, 3, S, S), uint8 or in [0,1]."""

    images: Tensor
    views: Views = FACE_CROPS

    def __call__(self, model: FRA, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", "global", "regions", "clusters"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        model.follow()
        views = [self.views(x, generator) for _ in range(2)]
        students = [model.student.see(view) for view in views]
        with torch.no_grad():
            targets = [model.target.see(view) for view in views]
        parts = torch.stack([self.between(model, students[at], targets[1 - at], targets[at]) for at in range(2)]).sum(0)
        loss = (parts * parts.new_tensor(WEIGHTS)).sum()
        return {"loss": loss} | dict(zip(("global", "regions", "clusters"), parts.detach(), strict=True))

    def between(self, model: FRA, seen: Seen, other: Seen, same: Seen) -> Tensor:
        """The three losses (3,): `other` is the target's other view, `same` its own of this view."""
        regions = seen.regions
        predicted = model.predict_region(regions.flatten(0, 1)).view_as(regions)
        unit = F.normalize(regions, dim=2)
        cross = (unit @ unit.transpose(1, 2)).square()
        apart = (cross.sum((1, 2)) - cross.diagonal(dim1=1, dim2=2).sum(1)).mean() / (
            cross.shape[1] ** 2 - cross.shape[1]
        )
        whole = agreement(model.predict_whole(seen.whole), other.whole)
        local = agreement(predicted, other.regions) + APART * apart
        return torch.stack([whole, local, cluster_loss(seen.dots, same.dots)])
