"""Rewards of every action and draws of the gradient against attacks one by one; claims on rewards made by hand."""

import pytest
import torch

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.settings import PGD
from lib.book.ledger import judge
from lib.evaluation import bootstrap
from lib.losses.contrastive import nt_xent_rows
from lib.models.dual_norm import route
from lib.papers import registered_claim
from lib.studies.robust_ssl.astra.measures import (
    action_rewards,
    by_budget,
    chosen,
    gradient_draws,
    rewards_of,
    strongest_less_next,
)
from lib.studies.robust_ssl.astra.reward import Weights, similarity
from lib.studies.robust_ssl.astra.strategy import FixedStrategy, StrategyNetwork
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


@pytest.mark.parametrize(("last", "word"), [(2.0, "supported"), (0.5, "refuted")])
def test_the_critique_of_the_largest_budget_can_hold_and_fail(last, word):
    rewards = torch.tensor([0.0, 1.0, last]) + 0.01 * torch.randn(50, 3, generator=draw())
    found = bootstrap(strongest_less_next, rewards, resamples=200)
    assert judge((found.low, found.high), registered_claim("robust_ssl-c19e")) == word
