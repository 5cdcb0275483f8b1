"""Rewards of every action and draws of the gradient against attacks one by one; claims on rewards made by hand."""

import pytest
import torch
from torch import nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.settings import PGD
from lib.book.ledger import judge
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.losses.contrastive import nt_xent_rows
from lib.models.dual_norm import route
from lib.papers import registered_claim
from lib.studies.robust_ssl.astra.attack import attack_by_actions
from lib.studies.robust_ssl.astra.measures import (
    action_rewards,
    by_budget,
    chosen,
    earned,
    gradient_draws,
    largest_pays_most,
    rewards_of,
)
from lib.studies.robust_ssl.astra.reward import Weights, similarity, view_rewards
from lib.studies.robust_ssl.astra.strategy import FixedStrategy, StrategyNetwork, draw_actions
from lib.training.adversarial_contrast import routed
from tests.studies.robust_ssl.astra.small import RANGES, draw, network, views


def test_rewards_of_all_actions_against_one_attack():
    model, x = network(), views()
    found = action_rewards(model, x, RANGES)
    assert found["attacked"].shape == found["similarity"].shape == (3, 3, 2, 8)
    begun = Linf(8 / 255).around(x).sample(draw())
    with torch.no_grad():
        clean = routed(model, x, "clean")
    assert torch.allclose(found["clean"], nt_xent_rows(clean, 0.5), atol=1e-5)
    for steps, at in ((1, 0), (4, 2)):
        with route(model, "adversarial"):
            moved = ascend(nt_xent(model), x, Linf(15 / 255), PGD.but(steps=steps, step=3 / 255, start=begun))
        with torch.no_grad():
            attacked = routed(model, moved, "adversarial")
        assert torch.allclose(found["attacked"][2, at, 1], nt_xent_rows(attacked, 0.5), atol=1e-4)
        assert torch.allclose(found["similarity"][2, at, 1], similarity(clean, attacked), atol=1e-4)


def test_weights_of_the_reward():
    losses = {"attacked": torch.ones(3, 3, 2, 4), "similarity": torch.full((3, 3, 2, 4), 2.0), "clean": torch.ones(4)}
    assert rewards_of(losses).abs().max() == 0
    assert torch.allclose(rewards_of(losses, Weights(1, 2, 3)), torch.full((3, 3, 2, 4), (2 - 2 - 3) / 3))
    assert by_budget(losses).shape == (4, 3)


def test_draws_of_the_gradient():
    model = network()
    found = gradient_draws(model, StrategyNetwork(RANGES, width=2), views(), RANGES, 3)
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "scores": (3, 8, 8),
        "attacked": (3, 8),
        "clean": (3, 8),
    }
    assert torch.equal(found["clean"][0], found["clean"][2])
    assert not torch.equal(found["attacked"][0], found["attacked"][2])


def test_what_a_strategy_prefers():
    found = chosen(network(), FixedStrategy(RANGES, (2, 0, 1)), views(), RANGES)
    assert found["eps"].tolist() == [15] * 8
    assert found["p steps"].tolist() == [1, 0, 0]
    assert found["entropy"].abs().max() == 0
    assert (found["attacked"] != found["clean"]).all()


def test_earnings_are_the_reward_of_the_attack_and_one_action_for_all_fits_nobody():
    model, x = network(), views()
    strategy = FixedStrategy(RANGES, (2, 2, 1))
    found = earned(model, strategy, x, RANGES, repeats=1)
    actions = draw_actions(strategy(x), draw(), RANGES)
    moved = attack_by_actions(model, x, actions, draw(1))
    with torch.no_grad():
        paid = view_rewards(routed(model, x, "clean"), routed(model, moved, "adversarial"))
    assert torch.allclose(found["own"], paid, atol=1e-5)
    assert torch.equal(found["own"], found["dealt"])
    weak = earned(model, FixedStrategy(RANGES, (0, 0, 0)), x, RANGES)
    assert weak["own"].mean() < found["own"].mean()


class ByBrightness(nn.Module):
    """Attacks bright views hard and dark ones hardly."""

    def forward(self, x):
        bright = x.mean((1, 2, 3)) > 0.5
        return tuple(torch.where(bright[:, None], 50.0, -50.0) * torch.linspace(-1, 1, k) for k in RANGES.sizes)


def test_dealt_actions_are_those_of_other_views():
    x = views()
    x[:4] *= 0.2
    found = earned(network(), ByBrightness(), x, RANGES, repeats=8)
    assert not torch.allclose(found["own"], found["dealt"])
    assert found["own"].shape == found["dealt"].shape == (8,)


@pytest.mark.parametrize(("last", "word"), [(2.0, "supported"), (0.5, "refuted")])
def test_the_critique_of_the_largest_budget_can_hold_and_fail(last, word):
    rewards = torch.tensor([0.0, 1.0, last]) + 0.01 * torch.randn(2, 200, 3, generator=draw())
    found = over_seeds(largest_pays_most(rewards), resamples=200)
    assert judge((found.low, found.high), registered_claim("robust_ssl-c19e")) == word
