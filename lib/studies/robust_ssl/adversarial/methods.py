"""Self-adversarial training: the common form of the methods, with SimCLR and ACL in it.

    loss = ACL(images, model, ACL.Options())
    fit(model, loss, len(images), recipe)

A method says how pictures become views, what its inner attack climbs, and what it learns from clean and attacked views.
"""

from dataclasses import dataclass

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.losses.contrastive import nt_xent_rows
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.strength import Strength, attack_views
from lib.training.adversarial_contrast import health, routed
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.training.state import StatefulLoss
from lib.transforms.views import ACL as ACL_VIEWS
from lib.transforms.views import Views


@dataclass(frozen=True)
class Options:
    """What all methods share: strength of the inner attack, temperature of NT-Xent, and the random views."""

    strength: Strength = Strength()
    temperature: float = 0.5
    views: Views = ACL_VIEWS


@dataclass(frozen=True, eq=False)
class Aids:
    """What some methods get beside the pictures: a trained encoder to follow (DeACL), pseudo-labels (n, k) (AdvCL)."""

    teacher: nn.Module | None = None
    pseudo: LongTensor | None = None


class SelfAdversarial(StatefulLoss):
    """A method's loss of images (n, 3, S, S) uint8, for `fit`.

    norms, layers: sets of batch normalisation, and linear layers of the projector, of the network that it trains.
    Options: its settings, by default as its code was released.
    """

    name = ""
    norms = 2
    layers = 3
    Options: type[Options] = Options

    def __init__(self, images: Tensor, model: RoutedNetwork, options: Options | None = None, aids: Aids | None = None):
        super().__init__()
        self.images = images
        self.given = options or self.Options()
        self.prepare(model, aids or Aids())

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """Make the state that the method remembers."""

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the pictures `index` (b,), with "alignment" and "uniformity" where two views are compared."""
        raise NotImplementedError

    def view(self, x: Tensor, generator: Generator) -> Tensor:
        """One random view of each picture x (b, 3, S, S) in [0,1]."""
        return self.given.views(x, generator)

    def two_views(self, model: nn.Module, index: LongTensor, generator: Generator) -> Tensor:
        """Two views (2b, 3, S, S) of the pictures `index`, the first ones first."""
        x = pixels_of(self.images, index, model)
        return torch.cat([self.view(x, generator), self.view(x, generator)])

    def contrast(self, both: Tensor) -> Tensor:
        """NT-Xent of unit projections (2b, d), a scalar."""
        with torch.autocast(both.device.type, enabled=False):
            return nt_xent_rows(both.float(), self.given.temperature).mean()


class SimCLR(SelfAdversarial):
    """NT-Xent of two clean views: no attack. What the others are measured against, and DeACL's teacher."""

    name = "SimCLR"
    norms = 1

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} and health of two views."""
        both = routed(model, self.two_views(model, index, generator), "clean")
        return {"loss": self.contrast(both), **health(both)}


class ACL(SelfAdversarial):
    """ACL's dual stream (Jiang et al. 2020): half the loss of two views, half that of both views attacked.

    A method built on it changes `strength`, `attacked`, or `combined`.
    """

    name = "ACL"

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", "clean loss", "attacked loss"} and the health of the clean views."""
        views = self.two_views(model, index, generator)
        moved = self.attacked(model, views, generator)
        clean, adversarial = self.embedded(model, views, "clean"), self.embedded(model, moved, "adversarial")
        return self.combined(clean, adversarial) | health(clean)

    def strength(self, views: Tensor) -> Strength:
        """How strongly each of the views (2b, 3, S, S) is attacked."""
        return self.given.strength

    def attacked(self, model: RoutedNetwork, views: Tensor, generator: Generator) -> Tensor:
        """Both views (2b, 3, S, S), attacked against each other through the adversarial route."""
        return attack_views(model, views, self.strength(views), generator, self.given.temperature)

    def embedded(self, model: RoutedNetwork, views: Tensor, way: str) -> Tensor:
        """Unit projections (2b, d) of both views along a route."""
        return routed(model, views, way)

    def weights(self) -> tuple[float, float]:
        """Of the clean and of the attacked loss; they add up to 1."""
        return 0.5, 0.5

    def combined(self, clean: Tensor, adversarial: Tensor) -> Metrics:
        """The loss of unit projections (2b, d) of clean and attacked views, and its two parts."""
        parts = self.contrast(clean), self.contrast(adversarial)
        loss = sum(weight * part for weight, part in zip(self.weights(), parts, strict=True))
        return {"loss": loss, "clean loss": parts[0].detach(), "attacked loss": parts[1].detach()}
