"""One trainer for all families, and for a supervised encoder of the same budget."""

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.evaluation.collapse import relative_spread, spectrum, uncentred_rank
from lib.seeds import seeded
from lib.studies.robust_ssl.families import Family, Settings, family
from lib.studies.robust_ssl.networks import JointEmbedding, Sizes, SupervisedNetwork, network
from lib.studies.robust_ssl.views import STANDARD, AnyViews
from lib.training.batches import pixels_of
from lib.training.loop import Measure, Metrics, Recipe, Trained, fit

SHARES = 8  # of the spectrum, kept along training
CALIBRATED = 10  # batches that an untrained network takes its batch statistics from


@dataclass(frozen=True)
class Plan:
    """What is trained: a family with all its parts or `without` one, the network's sizes, its settings and views."""

    method: str
    sizes: Sizes = field(default_factory=Sizes)
    settings: Settings = field(default_factory=Settings)
    views: AnyViews = STANDARD
    without: str | None = None

    def model(self, seed: int = 0) -> JointEmbedding:
        """A new network with what the family needs on top."""
        kind = family(self.method)
        return network(self.sizes, kind.predictor_width(self.sizes), kind.prototypes, seed)

    def loss(self, images: Tensor, model: JointEmbedding) -> Family:
        """The family's loss of images (n, 3, S, S)."""
        return family(self.method)(images, model, self.views, self.settings, self.without)


@dataclass(frozen=True, eq=False)
class CollapseWatch:
    """For `fit`: how healthy the unit projections of images (n, 3, S, S) uint8 are.

    It chooses nothing, so the last weights of a run stay. In eval mode, as a probe sees the network.
    """

    images: Tensor

    @torch.no_grad()
    def __call__(self, model: JointEmbedding) -> dict[str, float]:
        """Their spread, their uncentred rank over d, and the first shares of their variance."""
        unit = model.unit(pixels_of(self.images, torch.arange(len(self.images)), model)).double()
        shares = F.pad(spectrum(unit), (0, SHARES))[:SHARES].tolist()
        told = {"spread": relative_spread(unit), "rank": uncentred_rank(unit) / unit.shape[1]}
        return told | {f"share {at}": value for at, value in enumerate(shares, 1)}


@torch.no_grad()
def calibrated(model: nn.Module, images: Tensor, views: AnyViews, batch: int, seed: int = 0) -> nn.Module:
    """A copy of a network with the mean batch statistics of ten batches of views, in eval mode; its weights stay.

    Before training these statistics are 0 and 1, which no picture has: an untrained control needs its own.
    """
    found = copy.deepcopy(model).train()
    norms = [part for part in found.modules() if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all passes
    draw = Generator().manual_seed(seed)
    for _ in range(CALIBRATED):
        index = torch.randint(len(images), (min(batch, len(images)),), generator=draw)
        found(views(pixels_of(images, index, found), draw))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return found.eval()


def untrained(images: Tensor, plan: Plan, batch: int, seed: int = 0, device: str = "cpu") -> Trained:
    """What `train_family` starts from, calibrated on images (n, 3, S, S) uint8: "weights" and "network"."""
    model = calibrated(plan.model(seed).to(device), images, plan.views, batch, seed)
    return {"weights": model.encoder.state_dict(), "network": model.state_dict()}


def train_family(
    images: Tensor, plan: Plan, recipe: Recipe, watch: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A new encoder trained on images (n, 3, S, S) uint8: "weights" of the encoder, all of the "network", "history".

    watch: it also looks at the network before the first step, calibrated.
    """
    model = plan.model(recipe.seed).to(device)
    first = watch(calibrated(model, images, plan.views, recipe.batch, recipe.seed)) | {"checked": 0} if watch else {}
    loss = plan.loss(images, model)
    history = fit(model, loss, len(images), recipe, held_out=watch, label=f"training {plan.method}")
    history |= {name: F.pad(history[name], (1, 0), value=value) for name, value in first.items()}
    return {"weights": model.encoder.state_dict(), "network": model.state_dict(), "history": history}


@dataclass(frozen=True, eq=False)
class ViewsClassified:
    """Cross-entropy of two views of each picture: the supervised encoder sees as many views as the families do."""

    images: Tensor
    labels: LongTensor
    views: AnyViews = STANDARD

    def __call__(self, model: nn.Module, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        labels = self.labels[index].to(x.device).repeat(2)
        both = torch.cat([self.views(x, generator), self.views(x, generator)])
        return {"loss": F.cross_entropy(model(both), labels)}


def train_classifier(
    images: Tensor, labels: LongTensor, sizes: Sizes, views: AnyViews, recipe: Recipe, device: str = "cpu"
) -> Trained:
    """An encoder trained with labels (n,): "weights" of the encoder and "history"."""
    with seeded(recipe.seed):
        model = SupervisedNetwork(sizes, int(labels.max()) + 1).to(device)
    history = fit(model, ViewsClassified(images, labels, views), len(images), recipe, label="training supervised")
    return {"weights": model.encoder.state_dict(), "history": history}
