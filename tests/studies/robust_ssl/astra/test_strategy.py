"""Ranges, actions and heads of the strategy against torch's own distributions."""

import pytest
import torch
from torch.distributions import Categorical

from lib.errors import WorkbookError
from lib.studies.robust_ssl.astra.strategy import (
    HEADS,
    RELEASED,
    Actions,
    FixedStrategy,
    Ranges,
    StrategyNetwork,
    adaptation,
    draw_actions,
    entropies,
    expected_value,
    log_probability,
)
from tests.studies.robust_ssl.astra.small import RANGES, draw, views


def logits(n=50, seed=0, ranges=RELEASED):
    generator = draw(seed)
    return tuple(2 * torch.randn(n, size, generator=generator) for size in ranges.sizes)


def test_released_ranges():
    assert RELEASED.sizes == (13, 12, 5)
    assert (RELEASED.eps[0], RELEASED.eps[-1], RELEASED.steps[-1], RELEASED.step[-1]) == (3, 15, 14, 5)
    assert RELEASED.nearest(8, 5, 2) == (5, 2, 1)
    assert RANGES.nearest(7, 9, 9) == (1, 2, 1)


@pytest.mark.parametrize("wrong", [{"eps": ()}, {"eps": (0, 3)}, {"steps": (3, 2)}, {"step": (1, 1)}])
def test_ranges_that_no_attack_can_take_are_refused(wrong):
    with pytest.raises(WorkbookError, match="ascends from 1"):
        Ranges(**wrong)


def test_values_of_actions():
    actions = Actions(torch.tensor([[0, 2, 1], [2, 0, 0]]), RANGES)
    assert torch.equal(actions.eps, torch.tensor([4 / 255, 15 / 255]))
    assert actions.steps.tolist() == [4, 1]
    assert torch.equal(actions.step, torch.tensor([3 / 255, 1 / 255]))


def test_network_gives_three_heads():
    found = StrategyNetwork(RANGES, width=2)(views(4))
    assert [tuple(part.shape) for part in found] == [(4, 3), (4, 3), (4, 2)]


def test_fixed_strategies_choose_one_action_or_any():
    (one,) = {tuple(row) for row in draw_actions(FixedStrategy(RANGES, (1, 2, 0))(views(6)), draw()).index.tolist()}
    assert one == (1, 2, 0)
    uniform = FixedStrategy(RANGES)(views(6))
    assert torch.allclose(entropies(uniform), torch.ones(6, 3))
    assert torch.equal(entropies(FixedStrategy(RANGES, (1, 2, 0))(views(6))), torch.zeros(6, 3))


@pytest.mark.parametrize("at", range(3))
def test_draws_with_one_seed_are_those_of_torch(at):
    """The release resets torch's seed before each head: same seed, same choice as Categorical.sample."""
    given = logits()
    generator = draw(5)
    seed = int(torch.randint(1 << 40, (), generator=draw(5)))
    found = draw_actions(given, generator, shared=True).index[:, at]
    torch.manual_seed(seed)
    assert torch.equal(found, Categorical(given[at].softmax(1)).sample())


def test_draws_follow_the_probabilities_and_heads_differ():
    given = tuple(part[:1].expand(20_000, -1) for part in logits())
    actions = draw_actions(given, draw())
    for at, part in enumerate(given):
        shares = torch.bincount(actions.index[:, at], minlength=part.shape[1]) / 20_000
        assert torch.allclose(shares, part[0].softmax(0), atol=0.015)
    first = draw_actions(tuple(torch.zeros(400, 4) for _ in HEADS), draw())
    shared = draw_actions(tuple(torch.zeros(400, 4) for _ in HEADS), draw(), shared=True)
    assert (first.index[:, 0] == first.index[:, 1]).float().mean() < 0.4
    assert torch.equal(shared.index[:, 0], shared.index[:, 1])


def test_log_probability_against_torch():
    given = logits(ranges=RANGES)
    actions = draw_actions(given, draw(), RANGES)
    own = sum(Categorical(logits=part).log_prob(actions.index[:, at]) for at, part in enumerate(given))
    assert torch.allclose(log_probability(given, actions), own)


def test_entropies_against_torch():
    given = logits()
    own = torch.stack([Categorical(logits=part).entropy() / torch.tensor(part.shape[1]).log() for part in given], 1)
    assert torch.allclose(entropies(given), own, atol=1e-5)


def test_adaptation_is_none_for_one_choice_and_all_for_certain_ones():
    same = tuple(part[:1].expand(8, -1) for part in logits())
    assert torch.allclose(adaptation(same), torch.zeros(3), atol=1e-5)
    certain = tuple(100 * torch.eye(k) for k in (4, 4, 4))
    assert torch.allclose(adaptation(certain), torch.ones(3), atol=1e-4)


def test_expected_value():
    assert torch.allclose(expected_value(torch.zeros(2, 3), (4, 8, 15)), torch.full((2,), 9.0))
