"""What page 19 measures beside page 18's leads: what a strategy does, and what the reward asks for."""

import torch
from torch import Tensor

from lib.evaluation.effects import correlation, ranks
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images
from lib.interval import Interval
from lib.studies.robust_ssl.astra.attack import Approach, attack_by_actions, passes_saved
from lib.studies.robust_ssl.astra.estimators import estimates
from lib.studies.robust_ssl.astra.measures import rewards_of
from lib.studies.robust_ssl.astra.reward import Weights
from lib.studies.robust_ssl.astra.strategy import HEADS, FixedStrategy, draw_actions
from lib.studies.robust_ssl.astra.study import StrategyStudy

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
    """The same attacks in a shrinking and in a masked batch, random actions: "apart" (views,), "saved" (batches,).

    apart: share of each view's pixels that differ. saved: passes of the masked attack over those of the shrinking one.
    """
    model, ranges = study.arm_network("ASTrA"), study.ranges
    apart, saved = [], []
    for batch in range(batches):
        views = study.views_of(study.scale.drawn // 2, seed=seed + batch)
        draw = torch.Generator().manual_seed(seed + batch)
        actions = draw_actions(FixedStrategy(ranges)(views), draw, ranges)
        both = [
            attack_by_actions(model, views, actions, torch.Generator().manual_seed(seed), Approach(shrink=way))
            for way in (True, False)
        ]
        apart.append(((both[0] - both[1]).abs() > 1e-6).flatten(1).double().mean(1).cpu())
        saved.append(passes_saved(actions.steps))
    return {"apart": torch.cat(apart), "saved": torch.tensor(saved, dtype=torch.float64)}
