"""What page 19 measures beside page 18's leads: what a strategy does, and what the reward asks for."""

import torch
from torch import Tensor

from lib.evaluation.effects import correlation, ranks
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images
from lib.interval import Interval
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.astra.attack import Approach, attack_by_actions
from lib.studies.robust_ssl.astra.estimators import estimates
from lib.studies.robust_ssl.astra.measures import rewards_of
from lib.studies.robust_ssl.astra.reward import Weights
from lib.studies.robust_ssl.astra.strategy import HEADS, Actions, FixedStrategy, draw_actions
from lib.studies.robust_ssl.astra.study import StrategyStudy
from lib.studies.robust_ssl.joint_embedding_page import most_frequent
from lib.training.passes import count_passes, forward_equivalents

Found = dict[str, Tensor]
ARM_NAMES = {
    "ACL": "ACL",
    "ACL + mixed": "ACL + mixed contrastive",
    "ACL + adaptive": "ACL + adaptive attack",
    "ASTrA": "ASTrA",
    "uniform": "random actions",
    "fixed": "best fixed strength",
    "annealed": "budget rising by hand",
    "mended": "ASTrA, mended",
}
HEAD_NAMES = {"eps": "budget, 1/255", "steps": "iterations", "step": "step size, 1/255"}


def entropy_change(before: Found, after: Found) -> Tensor:
    """Entropy of the heads' choices after less before training (seeds, n), share of the largest, mean of the heads."""
    return (after["entropy"] - before["entropy"]).mean(2)


def adapts(found: Found) -> Tensor:
    """How much the choice depends on the view (seeds, n): entropy of the mean choice less the view's own.

    Share of the largest, mean of the heads; its mean is `adaptation`.
    """
    gaps = []
    for at, name in enumerate(HEADS):
        p = found[f"p {name}"].double()  # (seeds, k)
        whole = -torch.special.xlogy(p, p).sum(1) / torch.log(torch.tensor(float(p.shape[1])))
        gaps.append(whole[:, None] - found["entropy"][:, :, at])
    return torch.stack(gaps).mean(0)


def follows_difficulty(found: Found, name: str = "eps", difficulty: str = "attacked", seed: int = 0) -> Interval:
    """Rank correlation of what a head prefers for a view with how difficult the view is; ranks within each training."""
    chosen, hard = ranks(found[name].double()), ranks(found[difficulty].double())

    def statistic(a: Tensor, b: Tensor) -> float:
        return correlation((a - a.mean(1, keepdim=True)).flatten(), (b - b.mean(1, keepdim=True)).flatten()).item()

    return bootstrap_seeds_and_images(statistic, chosen, hard, resamples=300, seed=seed)


def gradients_of(found: Found, credit: str = "batch", clean: bool = True) -> Tensor:
    """Policy gradients (R, K) of `gradient_draws`, with the clean loss taken off the reward or not."""
    rewards = (found["attacked"] - found["clean"] * clean) / 3
    return estimates(found["scores"], rewards, credit)


def likely_actions(losses: Found, weights: Weights, sharpness: float) -> Found:
    """Distribution of each head (k,) when actions are as likely as exp(sharpness times their reward).

    losses: means over views, "attacked" and "similarity" (eps, steps, step), "clean" a number. What a strategy that
    knows no view and learns without noise tends to.
    """
    paid = rewards_of(losses, weights)
    p = (sharpness * (paid - paid.max())).flatten().softmax(0).view(paid.shape)
    return {"eps": p.sum((1, 2)), "steps": p.sum((0, 2)), "step": p.sum((0, 1))}


def ways_of_attack(study: StrategyStudy, batches: int = 4, seed: int = 0) -> Found:
    """The same attacks in a shrinking and in a masked batch, random actions: "apart" and "saved" (batches,).

    apart: share of the pixels that differ. saved: passes of the masked attack over those of the shrinking one, both
    counted by hooks.
    """
    model, ranges = study.arm_network("ASTrA"), study.ranges
    apart, saved = [], []
    for batch in range(batches):
        views = study.views_of(study.scale.drawn // 2, seed=seed + batch)
        draw = torch.Generator().manual_seed(seed + batch)
        actions = draw_actions(FixedStrategy(ranges)(views), draw, ranges)
        both = [counted_attack(model, views, actions, Approach(shrink=shrink), seed=seed) for shrink in (True, False)]
        apart.append(((both[0][0] - both[1][0]).abs() > 1e-6).double().mean().cpu())
        saved.append(both[1][1] / both[0][1])
    return {"apart": torch.stack(apart), "saved": torch.tensor(saved, dtype=torch.float64)}


def counted_attack(
    model: RoutedNetwork, views: Tensor, actions: Actions, approach: Approach, seed: int = 0
) -> tuple[Tensor, float]:
    """The attacked views, and what the attack cost by hooks: forward passes, or as much, for each view."""
    found: list[Tensor] = []

    def attack() -> None:
        found.append(attack_by_actions(model, views, actions, torch.Generator().manual_seed(seed), approach))

    passes = count_passes(attack, [model.encoder.trunk.stem], len(views))
    return found[0], forward_equivalents(passes)


def constant_answer(study: StrategyStudy) -> Tensor:
    """Which of the attacked test pictures (n,) bool are right for who always names the most frequent class."""
    return most_frequent(study.objects)[: study.scale.attacked]


def over_constant(right: Found, always: Tensor, measure: str = "WC") -> Tensor:
    """Points of each picture (seeds, n) over those of one answer for all, which is right for the pictures `always`."""
    return 100 * (right[measure].double() - always.double())


def settled_alone(study: StrategyStudy, name: str) -> float:
    """Entropy of a strategy of `ALONE` in the last tenth of its steps less that in the first, mean of heads, seeds."""
    falls = []
    for seed in study.scale.seeds:
        history = study.alone(name, seed)["history"]
        along = torch.stack([history[f"entropy {head}"] for head in HEADS]).double().mean(0)
        tenth = max(1, len(along) // 10)
        falls.append((along[-tenth:].mean() - along[:tenth].mean()).item())
    return sum(falls) / len(falls)
