"""ASTrA's attack inside RoCL and DynACL: the rows in which the source plugs it into other methods."""

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from lib.attacks.embeddings import nt_xent
from lib.losses.contrastive import nt_xent_rows
from lib.models.base import evaluating
from lib.studies.robust_ssl.adversarial.dynacl import DynACL, DynACLOptions
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.rocl import RoCL, RoCLOptions
from lib.studies.robust_ssl.adversarial.strength import Strength, climb
from lib.studies.robust_ssl.astra.strategy import Actions
from lib.studies.robust_ssl.astra.training import LearntAttack, Strategy
from lib.training.adversarial_contrast import routed


@dataclass(frozen=True)
class DynACLStrategyOptions(DynACLOptions):
    """DynACL's options with those of its strategy."""

    learnt: Strategy = field(default_factory=Strategy)


class DynACLLearnt(LearntAttack, DynACL):
    """DynACL under a strategy's attack, which climbs the same network as DynACL's own."""

    name = "DynACL + ASTrA"
    Options = DynACLStrategyOptions

    def moved(self, model: RoutedNetwork, views: Tensor, actions: Actions, generator: Generator) -> Tensor:
        """Both views (2b, 3, S, S), attacked as the actions say."""
        climbed = self.slow.model if self.given.attacked == "slow" else model
        return super().moved(climbed, views, actions, generator)


@dataclass(frozen=True)
class RoCLStrategyOptions(RoCLOptions):
    """RoCL's options with those of its strategy."""

    learnt: Strategy = field(default_factory=Strategy)


class RoCLLearnt(LearntAttack, RoCL):
    """RoCL under a strategy's attack: the first view alone is attacked, against the second one, which stays.

    The batch does not shrink: as the second views stay, a row's climb ends with its own count of steps.
    """

    name = "RoCL + ASTrA"
    Options = RoCLStrategyOptions

    def seen(self, views: Tensor) -> Tensor:
        """The first views (b, 3, S, S)."""
        return views.chunk(2)[0]

    def attacked(self, model: RoutedNetwork, first: Tensor, second: Tensor, generator: Generator) -> Tensor:
        """The first views (b, 3, S, S) attacked against the fixed second ones, as the strategy says."""
        actions = self.drawn(self.logits(first), generator)
        return self.moved(model, torch.cat([first, second]), actions, generator)

    def moved(self, model: RoutedNetwork, views: Tensor, actions: Actions, generator: Generator) -> Tensor:
        """The first of both views (2b, 3, S, S), attacked as the actions say."""
        first, second = views.chunk(2)
        goal = nt_xent(model, second, self.given.temperature)
        return climb(model, goal, first, Strength(actions.eps, actions.step, actions.steps), generator)

    @torch.no_grad()
    def rewards(self, model: RoutedNetwork, views: Tensor, moved: Tensor) -> Tensor:
        """Reward (b,) of each first view: NT-Xent with the second one, attacked less clean."""
        paid, own = self.given.learnt.weights, len(moved)
        with evaluating(model):
            first, second, attacked = routed(model, torch.cat([views, moved]), "clean").chunk(3)
        after, before = (
            nt_xent_rows(torch.cat([part, second]), self.given.temperature)[:own] for part in (attacked, first)
        )
        return (paid.attacked * after - paid.clean * before) / 3
