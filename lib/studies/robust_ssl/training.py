"""One trainer for all families, and for a supervised encoder of the same budget."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.evaluation.collapse import collapse_of
from lib.seeds import seeded
from lib.studies.robust_ssl.families import Family, Settings, family
from lib.studies.robust_ssl.networks import JointEmbedding, Sizes, SupervisedNetwork, network
from lib.studies.robust_ssl.views import STANDARD, AnyViews
from lib.training.batches import pixels_of
from lib.training.loop import Measure, Metrics, Recipe, Trained, fit

SHARES = 8  # of the spectrum, kept along training


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
        return network(self.sizes, kind.predictor, kind.prototypes, seed)

    def loss(self, images: Tensor, model: JointEmbedding) -> Family:
        """The family's loss of images (n, 3, S, S)."""
        return family(self.method)(images, model, self.views, self.settings, self.without)


@dataclass(frozen=True, eq=False)
class CollapseWatch:
    """For `fit`: how healthy what the loss compares and the features are, on images (n, 3, S, S) uint8.

    It chooses nothing, so the last weights of a run stay. In eval mode, as a probe sees the network.
    """

    method: str
    images: Tensor

    def __call__(self, model: JointEmbedding) -> dict[str, float]:
        """Spread and rank of both, and the first shares of the variance of what the loss compares."""
        x = pixels_of(self.images, torch.arange(len(self.images)), model)
        found = collapse_of(family(self.method).compared(model, x))
        features = collapse_of(model.encoder(x))
        shares = F.pad(found.spectrum, (0, SHARES))[:SHARES].tolist()
        told = {"spread": found.spread, "rank": found.rank}
        told |= {"features' spread": features.spread, "features' rank": features.rank}
        return told | {f"share {at}": value for at, value in enumerate(shares, 1)}


def train_family(
    images: Tensor, plan: Plan, recipe: Recipe, watch: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A new encoder trained on images (n, 3, S, S) uint8: "weights" of the encoder, all of the "network", "history"."""
    model = plan.model(recipe.seed).to(device)
    loss = plan.loss(images, model)
    history = fit(model, loss, len(images), recipe, held_out=watch, label=f"training {plan.method}")
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
