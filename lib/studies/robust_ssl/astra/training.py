"""Training with a learnt attack: a strategy network that is paid every few steps, beside the encoder; and its controls.

plan = SelfATPlan(ASTrA, Sizes(), ASTrA.Options())
trained = train_with_strategy(images, plan, recipe)
"""

import copy
from dataclasses import dataclass, field

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError, choices
from lib.models.base import evaluating
from lib.seeds import seeded
from lib.studies.robust_ssl.adversarial.methods import ACL, Aids, Options
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.training import SelfATPlan
from lib.studies.robust_ssl.astra.attack import Approach, attack_by_actions
from lib.studies.robust_ssl.astra.reward import PAID, Weights, credited, policy_loss, similarity, view_rewards
from lib.studies.robust_ssl.astra.strategy import (
    HEADS,
    RELEASED,
    Actions,
    FixedStrategy,
    Logits,
    Ranges,
    StrategyNetwork,
    draw_actions,
    entropies,
    log_probability,
)
from lib.training.adversarial_contrast import health, routed
from lib.training.loop import Measure, Metrics, Recipe, Trained, fit
from lib.training.state import Turn

POLICIES = ("learnt", "uniform", "fixed", "annealed")
USUAL = (8, 5, 2)  # ACL's attack: budget and step size in 1/255, and iterations between them


@dataclass(frozen=True)
class Strategy:
    """Who chooses the attack's actions, and how the learnt strategy is paid. The release's by default.

    policy: "learnt"; "uniform", every action alike; "fixed", always `action`; "annealed", the budget of `action`
    rising over the training through the whole range. width, stem: of the network (the release's: 64, "small").
    every: steps of the encoder for one of the strategy. rate, clip: of its optimiser, LARS.
    """

    policy: str = "learnt"
    ranges: Ranges = RELEASED
    action: tuple[float, float, float] = USUAL  # of "fixed" and "annealed", as values and not as indices
    weights: Weights = PAID
    credit: str = "batch"
    shared_seed: bool = True
    every: int = 10
    rate: float = 0.1
    clip: float = 1.0
    width: int = 8
    stem: str = "half"

    def __post_init__(self) -> None:
        """Refuse policies that there are not."""
        if self.policy not in POLICIES:
            raise WorkbookError(f"A policy is one of {choices(POLICIES)}, not '{self.policy}': choose one.")
        if self.every < 1:
            raise WorkbookError(f"The strategy learns every 1 or more steps, not every {self.every}: correct it.")

    def network(self, seed: int = 0) -> nn.Module:
        """A new network that gives the logits of the three heads for each view."""
        if self.policy == "learnt":
            with seeded(seed):
                return StrategyNetwork(self.ranges, self.width, self.stem)
        chosen = None if self.policy == "uniform" else self.ranges.nearest(*self.action)
        return FixedStrategy(self.ranges, chosen)


@dataclass(frozen=True)
class StrategyOptions(Options):
    """A method's options with those of its strategy; mixed: weight of the mixed contrastive loss."""

    learnt: Strategy = field(default_factory=Strategy)
    mixed: float = 0.5


class LearntAttack:
    """What a method of two attacked views gets from a strategy: its own action for each view, and a turn to learn.

    Mixed into a method of lib.studies.robust_ssl.adversarial, before it.
    """

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """The strategy network, its turn, and the count of steps that says when it is due."""
        super().prepare(model, aids)
        own = self.given.learnt
        self.strategy = own.network(int(torch.randint(1 << 31, ())))  # of the training's seed
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        changes = {"optimiser": "lars", "rate": own.rate, "clip": own.clip, "weight_decay": 1e-6}
        learns = (Turn("strategy_loss", ("loss.strategy.",), changes),) if own.policy == "learnt" else ()
        self.turns = (*learns, Turn("encoder_loss", ("model.",)))

    def logits(self, views: Tensor) -> Logits:
        """The three heads' logits for views (n, 3, S, S), in eval mode and without gradients."""
        with evaluating(self.strategy), torch.no_grad():
            return self.strategy(views)

    def drawn(self, logits: Logits, generator: Generator) -> Actions:
        """An action for each view; annealed: the budget that is due, whatever the logits."""
        own = self.given.learnt
        actions = draw_actions(logits, generator, own.ranges, own.shared_seed)
        if own.policy == "annealed":
            actions.index[:, 0] = round(self.done * (len(own.ranges.eps) - 1))
        return actions

    def seen(self, views: Tensor) -> Tensor:
        """Those of the views (2b, 3, S, S) that are attacked."""
        return views

    def moved(self, model: RoutedNetwork, views: Tensor, actions: Actions, generator: Generator) -> Tensor:
        """The seen views, attacked as the actions say."""
        return attack_by_actions(model, views, actions, generator, Approach(self.given.temperature))

    def attacked(self, model: RoutedNetwork, views: Tensor, generator: Generator) -> Tensor:
        """Both views (2b, 3, S, S), attacked as the strategy says."""
        return self.moved(model, views, self.drawn(self.logits(views), generator), generator)

    def strategy_loss(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """The strategy's turn on the pictures `index` (b,): {"loss", "reward"} when due, else nothing to learn."""
        own = self.given.learnt
        if (int(self.step) + 1) % own.every:
            return {"loss": torch.zeros((), device=self.step.device, requires_grad=True)}
        views = self.two_views(model, index, generator)
        logits = self.strategy(self.seen(views))
        actions = self.drawn(tuple(part.detach() for part in logits), generator)
        rewards = self.rewards(model, views, self.moved(model, views, actions, generator))
        loss = policy_loss(log_probability(logits, actions), credited(rewards, own.credit))
        return {"loss": loss, "reward": rewards.mean()} | told(logits, actions)

    @torch.no_grad()
    def rewards(self, model: RoutedNetwork, views: Tensor, moved: Tensor) -> Tensor:
        """Reward of each view that is attacked, the encoder in eval mode."""
        with evaluating(model):
            clean, attacked = routed(model, views, "clean"), routed(model, moved, "adversarial")
        return view_rewards(clean, attacked, self.given.learnt.weights, self.given.temperature)

    def encoder_loss(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """The encoder's turn: the method's own loss, with the strategy's entropies and mean actions."""
        return self(model, index, generator)

    def update(self, model: RoutedNetwork, rows: dict[str, Tensor]) -> None:
        """Count the steps."""
        super().update(model, rows)
        self.step += 1


class ASTrA(LearntAttack, ACL):
    """ASTrA as released: ACL's dual stream under the strategy's attack, plus the mixed contrastive loss.

    With a fixed policy and mixed=0 it is ACL itself, with a fixed policy alone ACL and the mixed loss.
    Differs from the release: the strategy's turn draws views of its own, and each step's random numbers differ.
    """

    name = "ASTrA"
    Options = StrategyOptions

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", its parts}, health of the clean views, and what the strategy does: see `told`."""
        views = self.two_views(model, index, generator)
        logits = self.logits(views)
        actions = self.drawn(logits, generator)
        moved = self.moved(model, views, actions, generator)
        clean, adversarial = self.embedded(model, views, "clean"), self.embedded(model, moved, "adversarial")
        return self.combined(clean, adversarial) | health(clean) | told(logits, actions)

    def combined(self, clean: Tensor, adversarial: Tensor) -> Metrics:
        """ACL's loss of unit projections (2b, d) and `mixed` times NT-Xent of each view with its attacked copy."""
        found = super().combined(clean, adversarial)
        if not self.given.mixed:
            return found
        with torch.autocast(clean.device.type, enabled=False):
            mixed = similarity(clean.float(), adversarial.float(), self.given.temperature).mean()
        return found | {"loss": found["loss"] + self.given.mixed * mixed, "mixed loss": mixed.detach()}


class StrategyAlone(ASTrA):
    """The strategy learns on an encoder that does not: what the reward asks for, whatever the encoder would do."""

    name = "strategy alone"

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """Only the strategy has a turn."""
        super().prepare(model, aids)
        self.turns = self.turns[:1]


def told(logits: Logits, actions: Actions) -> Metrics:
    """What a strategy does on views, by head: entropy (share of the largest) and mean value of the drawn actions."""
    entropy = entropies(tuple(part.detach() for part in logits)).mean(0)
    found = {f"entropy {name}": entropy[at] for at, name in enumerate(HEADS)}
    return found | {f"mean {name}": actions.values(name).float().mean() for name in HEADS}


def train_with_strategy(
    images: Tensor, plan: SelfATPlan, recipe: Recipe, watch: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A network trained on images (n, 3, S, S) uint8: "weights" of the encoder, all of the "network", "history".

    With "strategy", the weights of the strategy network, and "begun", its first ones.
    """
    model = plan.model(recipe.seed).to(device)
    loss = plan.loss(images, model, recipe.seed)
    begun = copy.deepcopy(loss.strategy.state_dict())
    history = fit(model, loss, len(images), recipe, held_out=watch, label=f"training {plan.method.name}")
    found = {"weights": model.encoder.state_dict(), "network": model.state_dict(), "history": history}
    return found | {"strategy": loss.strategy.state_dict(), "begun": begun}


def train_alone(model: RoutedNetwork, images: Tensor, plan: SelfATPlan, recipe: Recipe, device: str = "cpu") -> Trained:
    """A strategy that learns on a trained network, which stays: "strategy" and "history"."""
    model = model.to(device)
    loss = plan.loss(images, model, recipe.seed)
    history = fit(model, loss, len(images), recipe, label=f"training {plan.method.name}")
    return {"strategy": loss.strategy.state_dict(), "history": history}


def step_cost(steps: Tensor, strategy: Strategy = Strategy()) -> float:
    """Forward-equivalents of one step for each picture, for views that take `steps` (n,) iterations.

    An attack gradient is two, a training pass three. The learnt strategy is passed once for each view and, every few
    steps, learns: three for its own pass, an attack, two passes for the reward.
    """
    most = steps.max()
    attack = 2 * (2 * steps.float().mean() + (steps < most).float().mean())
    cost = attack + 2 * 2 * 3
    if strategy.policy == "learnt":
        cost = cost + 2 + (2 * 3 + attack + 2 * 2) / strategy.every
    return float(cost)


def cost_of_iterations(more: float, strategy: Strategy = Strategy()) -> float:
    """What so many more iterations of the mean view add to `step_cost`."""
    turns = 1 / strategy.every if strategy.policy == "learnt" else 0.0
    return 2 * 2 * more * (1 + turns)
