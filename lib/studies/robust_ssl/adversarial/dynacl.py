"""DynACL (Luo et al. 2023): augmentation from strong to weak, and a slow copy that embeds the second views."""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from lib.errors import WorkbookError, choices
from lib.studies.robust_ssl.adversarial.methods import ACL, Aids, Options
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.strength import attack_views
from lib.training.adversarial_contrast import routed
from lib.training.state import EMA
from lib.transforms.views import Views

ATTACKED = ("slow", "own")


@dataclass(frozen=True)
class DynACLOptions(Options):
    """plateaus: of equal length, in which the strength stays (the code renews it every 50 of 1000 epochs).

    fixed: a strength from 0 (weak) to 1 (strong) that stays, in place of annealing. rise: of the attacked loss's
    weight, from 1 to 1 + rise where the augmentation is weakest. momentum: of the slow copy. attacked: the network
    that the attack climbs, the "slow" copy as in the code or the network's "own".
    """

    plateaus: int = 20
    fixed: float | None = None
    rise: float = 2 / 3
    momentum: float = 0.99
    attacked: str = "slow"

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        if self.attacked not in ATTACKED:
            raise WorkbookError(f"The attack climbs the network {choices(ATTACKED)}, not '{self.attacked}'.")


def annealed(views: Views, strength: float) -> Views:
    """Views of a strength in [0,1]: 1 leaves them, 0 leaves the flip alone; crop, jitter, gray fade in proportion."""
    if not 0 <= strength <= 1:
        raise WorkbookError(f"The strength of views lies between 0 and 1, not at {strength}: correct it.")
    crop = (strength * views.crop[0] + (1 - strength), views.crop[1])
    jitter = tuple(strength * part for part in views.jitter)
    return replace(views, crop=crop, jitter=jitter, gray=strength * views.gray)


class DynACL(ACL):
    """ACL whose views weaken while the weight of the attacked loss rises."""

    name = "DynACL"
    Options = DynACLOptions

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """The slow copy."""
        self.slow = EMA(model)

    @property
    def passed(self) -> float:
        """Share of the training behind, in steps of one plateau, from 0 up to below 1."""
        return int(self.done * self.given.plateaus) / self.given.plateaus

    def view(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of each picture x (b, 3, S, S), as strong as it is now."""
        strength = 1 - self.passed if self.given.fixed is None else self.given.fixed
        return annealed(self.given.views, strength)(x, generator)

    def attacked(self, model: RoutedNetwork, views: Tensor, generator: Generator) -> Tensor:
        """Both views (2b, 3, S, S), attacked against each other."""
        climbed = self.slow.model if self.given.attacked == "slow" else model
        return attack_views(climbed, views, self.strength(views), generator, self.given.temperature)

    def embedded(self, model: RoutedNetwork, views: Tensor, way: str) -> Tensor:
        """Unit projections (2b, d): the first views by the network, the second by its slow copy."""
        first, second = views.chunk(2)
        with torch.no_grad():
            slow = routed(self.slow.model, second, way)
        return torch.cat([routed(model, first, way), slow])

    def weights(self) -> tuple[float, float]:
        """Of the clean and of the attacked loss."""
        attacked = min(1 + self.given.rise * self.passed, 2)
        return (2 - attacked) / 2, attacked / 2

    def update(self, model: RoutedNetwork, rows: dict[str, Tensor]) -> None:
        """The slow copy follows."""
        self.slow.follow(model, self.given.momentum)
