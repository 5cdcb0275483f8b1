"""What is measured on a trained encoder and its strategy: draws of the policy gradient, rewards of every action, whom
the strategy attacks how (weak points 1, 3 and 4)."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.settings import PGD
from lib.losses.contrastive import nt_xent_rows
from lib.models.base import evaluating
from lib.models.dual_norm import route
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.astra.attack import START, attack_by_actions
from lib.studies.robust_ssl.astra.estimators import scores_of
from lib.studies.robust_ssl.astra.reward import PAID, Weights, similarity, view_rewards
from lib.studies.robust_ssl.astra.strategy import (
    HEADS,
    Actions,
    Ranges,
    adaptation,
    draw_actions,
    entropies,
    expected_value,
)
from lib.training.adversarial_contrast import routed

TEMPERATURE = 0.5  # of NT-Xent, in every training of the page
Found = dict[str, Tensor]


@torch.no_grad()
def gradient_draws(
    model: RoutedNetwork, strategy: nn.Module, views: Tensor, ranges: Ranges, draws: int, seed: int = 0
) -> Found:
    """One batch of views (n, 3, S, S), attacked `draws` times by freshly drawn actions.

    "scores" (draws, n, K): see `scores_of`; "attacked" (draws, n): NT-Xent of each attacked view; "clean" (draws, n):
    that of the clean views, computed anew in each draw.
    """
    generator = Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {"scores": [], "attacked": [], "clean": []}
    with evaluating(model, strategy):
        logits = strategy(views)
        for _ in range(draws):
            actions = draw_actions(logits, generator, ranges)
            moved = attack_by_actions(model, views, actions, generator)
            found["scores"].append(scores_of(logits, actions))
            found["attacked"].append(nt_xent_rows(routed(model, moved, "adversarial"), TEMPERATURE))
            found["clean"].append(nt_xent_rows(routed(model, views, "clean"), TEMPERATURE))
    return {name: torch.stack(parts).cpu() for name, parts in found.items()}


@torch.no_grad()
def action_rewards(model: RoutedNetwork, views: Tensor, ranges: Ranges, seed: int = 0) -> Found:
    """The reward's losses when all views (n, 3, S, S) take one action, for every action there is.

    "attacked", "similarity": (eps, steps, step, n); "clean": (n,). An attack of the most iterations passes those of
    fewer on its way, so each pair of budget and step size costs one attack.
    """
    with evaluating(model):
        clean = routed(model, views, "clean")
        rows = []
        for eps in ranges.eps:
            ways = [_on_the_way(model, views, eps, step, ranges.steps, seed) for step in ranges.step]
            rows.append(torch.stack([_losses(model, clean, moved) for moved in ways]))  # (step, 2, steps, n)
    whole = torch.stack(rows).permute(2, 0, 3, 1, 4)  # (2, eps, steps, step, n)
    return {"attacked": whole[0], "similarity": whole[1], "clean": nt_xent_rows(clean, TEMPERATURE).cpu()}


def _on_the_way(
    model: RoutedNetwork, views: Tensor, eps: int, step: int, counts: Sequence[int], seed: int
) -> list[Tensor]:
    """The views after each of the numbers of iterations `counts`, on one way uphill; sizes in 1/255."""
    found: list[Tensor] = []

    def note(turn: int, images: Tensor, _: Tensor) -> None:
        if turn in counts:
            found.append(images.clone())

    begun = Linf(START).around(views).sample(Generator().manual_seed(seed))
    settings = PGD.but(steps=max(counts), step=step / 255, start=begun)
    with route(model, "adversarial"):
        last = ascend(nt_xent(model), views, Linf(eps / 255), settings, on_step=note)
    return [*found, last]


def _losses(model: RoutedNetwork, clean: Tensor, moved: list[Tensor]) -> Tensor:
    """NT-Xent of attacked views, and of each with its clean copy, for each of `moved`: (2, len(moved), n)."""
    embedded = [routed(model, part, "adversarial") for part in moved]
    attacked = torch.stack([nt_xent_rows(part, TEMPERATURE) for part in embedded])
    return torch.stack([attacked, torch.stack([similarity(clean, part, TEMPERATURE) for part in embedded])]).cpu()


def rewards_of(losses: Found, weights: Weights = PAID) -> Tensor:
    """Rewards (eps, steps, step, n) of all actions from `action_rewards`."""
    paid = weights.attacked * losses["attacked"] - weights.similarity * losses["similarity"]
    return (paid - weights.clean * losses["clean"]) / 3


def by_budget(losses: Found, weights: Weights = PAID) -> Tensor:
    """Rewards (n, eps) of each view by budget, mean over iterations and step sizes."""
    return rewards_of(losses, weights).mean((1, 2)).T


def largest_pays_most(rewards: Tensor) -> Tensor:
    """For which views the largest budget pays more than any smaller one, of rewards (..., n, eps): (..., n) bool."""
    return rewards[..., -1] > rewards[..., :-1].amax(-1)


@torch.no_grad()
def earned(
    model: RoutedNetwork, strategy: nn.Module, views: Tensor, ranges: Ranges, repeats: int = 2, seed: int = 0
) -> Found:
    """Released reward (n,) of views (n, 3, S, S), the mean of `repeats` draws, from the same starts of the attack.

    "own": under the actions that the strategy draws for them. "dealt": under the same actions, each given to a view
    drawn at random; where the strategy fits the attack to the view, that earns less.
    """
    generator = Generator().manual_seed(seed)
    found: dict[str, list[Tensor]] = {"own": [], "dealt": []}
    with evaluating(model, strategy):
        logits, clean = strategy(views), routed(model, views, "clean")
        for repeat in range(repeats):
            own = draw_actions(logits, generator, ranges)
            dealt = Actions(own.index[torch.randperm(len(views), generator=generator)], ranges)
            for name, actions in (("own", own), ("dealt", dealt)):
                start = Generator().manual_seed(seed + 1 + repeat)
                moved = attack_by_actions(model, views, actions, start)
                found[name].append(view_rewards(clean, routed(model, moved, "adversarial"), temperature=TEMPERATURE))
    return {name: torch.stack(parts).mean(0).cpu() for name, parts in found.items()}


@torch.no_grad()
def chosen(model: RoutedNetwork, strategy: nn.Module, views: Tensor, ranges: Ranges, seed: int = 0) -> Found:
    """What a strategy prefers for views (n, 3, S, S), and how difficult these are.

    "eps", "steps", "step" (n,): mean value by its own probabilities; "entropy" (n, 3); "adaptation" (3,); "p eps" and
    so on (k,): mean distribution of each head; "clean", "attacked" (n,): NT-Xent of a view as it is, and under the
    same attack for all.
    """
    with evaluating(model, strategy):
        logits = strategy(views)
        usual = PGD.but(steps=5, step="2/255")
        with route(model, "adversarial"):
            moved = ascend(nt_xent(model), views, Linf("8/255"), usual, generator=Generator().manual_seed(seed))
        losses = {"clean": routed(model, views, "clean"), "attacked": routed(model, moved, "adversarial")}
    found = {name: nt_xent_rows(part, TEMPERATURE) for name, part in losses.items()}
    for at, name in enumerate(HEADS):
        found[name] = expected_value(logits[at], getattr(ranges, name))
        found[f"p {name}"] = logits[at].softmax(1).mean(0)
    found |= {"entropy": entropies(logits), "adaptation": adaptation(logits)}
    return {name: part.cpu() for name, part in found.items()}
