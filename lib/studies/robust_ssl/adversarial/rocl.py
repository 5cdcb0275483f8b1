"""RoCL (Kim et al. 2020): one view is attacked against the other, and all three are pulled together."""

from dataclasses import dataclass

import torch
from torch import Generator, LongTensor, Tensor

from lib.attacks.embeddings import nt_xent
from lib.losses.multi_view import multi_view_rows
from lib.studies.robust_ssl.adversarial.methods import Options, SelfAdversarial
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.strength import Strength, climb
from lib.training.adversarial_contrast import health, routed
from lib.training.loop import Metrics


@dataclass(frozen=True)
class RoCLOptions(Options):
    """weight: of the attacked view's own NT-Xent. one_sided: the code's similarities learn through one side alone.

    The paper's formula has both sides; released settings are the defaults.
    """

    strength: Strength = Strength("8/255", 0.007, 7)
    weight: float = 1 / 256
    one_sided: bool = True


class RoCL(SelfAdversarial):
    """NT-Xent of three views, the third being the first one attacked, plus a little of the attacked one's own.

    Differs from the source: the projector has normalised layers, as all methods here.
    """

    name = "RoCL"
    norms = 1
    layers = 2
    Options = RoCLOptions

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} and the health of the clean views."""
        first, second = self.two_views(model, index, generator).chunk(2)
        moved = self.attacked(model, first, second, generator)
        rows = routed(model, torch.cat([first, second, moved]), "clean")
        one, two, attacked = rows.chunk(3)
        near = self.contrast_of(torch.cat([attacked, two]), 2)
        loss = self.contrast_of(rows, 3) + self.given.weight * near
        return {"loss": loss, **health(torch.cat([one, two]))}

    def attacked(self, model: RoutedNetwork, first: Tensor, second: Tensor, generator: Generator) -> Tensor:
        """The first views (b, 3, S, S) attacked against the fixed second ones."""
        goal = nt_xent(model, second, self.given.temperature)
        return climb(model, goal, first, self.given.strength, generator)

    def contrast_of(self, rows: Tensor, views: int) -> Tensor:
        """The mean loss of unit projections (views * b, d)."""
        return multi_view_rows(rows, views, self.given.temperature, self.given.one_sided).mean()
