"""Claims of page 19 on rights made to hold and to fail, and the distributions that its knobs draw."""

import pytest
import torch

from lib.book.ledger import judge
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.papers import registered_claim
from lib.studies.robust_ssl.adversarial.self_at_page import lead, least_lead
from lib.studies.robust_ssl.astra import page
from lib.studies.robust_ssl.astra.reward import Weights
from lib.studies.robust_ssl.astra.strategy import HEADS, adaptation, entropies
from tests.studies.robust_ssl.astra.small import draw


def rights(share, seed=0, seeds=2, n=4000):
    return {"RA": torch.rand(seeds, n, generator=draw(seed)) < share}


def verdict(name, found):
    return judge((found.low, found.high), registered_claim(name))


def gap(one, other):
    return over_seeds(lead({"one": rights(one), "other": rights(other, 1)}, "one", "other"), resamples=200)


@pytest.mark.parametrize("name", ["robust_ssl-10", "ours-19d"])
def test_a_lead_can_hold_and_fail(name):
    words = {"source": ["replicated", "not replicated"], "check": ["passed", "failed"]}
    outcomes = [verdict(name, gap(*shares)) for shares in ((0.4, 0.3), (0.3, 0.4))]
    assert outcomes == words[registered_claim(name).kind]


@pytest.mark.parametrize("name", ["robust_ssl-c19a", "robust_ssl-c19b"])
def test_serving_as_well_can_hold_and_fail(name):
    alike = lead({"one": rights(0.3), "other": rights(0.3)}, "one", "other")
    assert verdict(name, over_seeds(alike, resamples=200)) == "supported"
    assert verdict(name, gap(0.4, 0.3)) == "refuted"


@pytest.mark.parametrize(("name", "kind"), [("robust_ssl-7c", 0), ("robust_ssl-c19c", 1)])
def test_what_a_strategy_earns_can_hold_and_fail(name, kind):
    words = [["replicated", "not replicated"], ["supported", "refuted"]][kind]
    more = 0.05 + 0.1 * torch.randn(2, 2000, generator=draw())
    assert [verdict(name, over_seeds(part, resamples=100)) for part in (more, -more)] == words


def test_serving_as_well_as_a_constant_can_hold_and_fail():
    none = torch.zeros(2, 2000)
    assert verdict("robust_ssl-c19g", over_seeds(none, resamples=100)) == "supported"
    assert verdict("robust_ssl-c19g", over_seeds(none + 0.05, resamples=100)) == "refuted"


def test_leads_on_the_seeds_that_both_have():
    judged = {"three": rights(0.4, seeds=3, n=50), "two": rights(0.3, seeds=2, n=50)}
    found = lead(judged, "three", "two")
    assert found.shape == (2, 50)
    assert torch.equal(found, 100 * (judged["three"]["RA"][:2].double() - judged["two"]["RA"].double()))
    always = judged["two"]["RA"][0]
    over = page.over_constant(judged["three"], always, "RA")
    assert over.mean().item() == pytest.approx(
        100 * (judged["three"]["RA"].double().mean() - always.double().mean()).item()
    )


@pytest.mark.parametrize("name", ["robust_ssl-7", "robust_ssl-7d"])
def test_the_smaller_gain_decides(name):
    judged = {"base": rights(0.3), "better": rights(0.4, 1), "worse": rights(0.2, 2), "best": rights(0.5, 3)}
    better, worse, best = (lead(judged, arm, "base") for arm in ("better", "worse", "best"))
    assert verdict(name, least_lead([better, best], resamples=200)) == "replicated"
    assert verdict(name, least_lead([better, worse], resamples=200)) == "not replicated"


def preferred(logits):
    """What `chosen` gives of two trainings with the same logits, as far as the page reads it."""
    found = {"entropy": entropies(logits)}
    found |= {f"p {name}": part.softmax(1).mean(0) for name, part in zip(HEADS, logits, strict=True)}
    return {name: torch.stack([part, part]) for name, part in found.items()}


def test_entropy_and_adaptation_can_hold_and_fail():
    even = tuple(torch.zeros(60, k) for k in (5, 4, 3))
    own = tuple(3 * torch.randn(60, k, generator=draw(k)) for k in (5, 4, 3))
    certain = preferred(own)
    undecided = preferred(even)
    found = page.adapts(certain)
    assert found.mean().item() == pytest.approx(adaptation(own).mean().item(), abs=1e-4)
    assert page.adapts(undecided).abs().max() < 1e-4
    falls, rises = page.entropy_change(undecided, certain), page.entropy_change(certain, undecided)
    assert verdict("robust_ssl-7b", over_seeds(falls, resamples=100)) == "replicated"
    assert verdict("robust_ssl-7b", over_seeds(rises, resamples=100)) == "not replicated"


def test_following_difficulty():
    hard = torch.rand(2, 80, generator=draw())
    found = page.follows_difficulty({"eps": hard.square(), "attacked": hard})
    assert found.estimate == pytest.approx(1.0)
    assert abs(page.follows_difficulty({"eps": torch.rand(2, 80, generator=draw(1)), "attacked": hard}).estimate) < 0.3


def test_gradients_leave_out_the_clean_loss_when_asked():
    found = {
        "scores": torch.ones(2, 3, 4),
        "attacked": torch.full((2, 3), 6.0),
        "clean": torch.full((2, 3), 3.0),
    }
    assert page.gradients_of(found).flatten()[0] == 1 * 3
    assert page.gradients_of(found, clean=False).flatten()[0] == 2 * 3


def test_likely_actions():
    attacked = torch.arange(3).double().view(3, 1, 1).expand(3, 2, 2)
    losses = {"attacked": attacked, "similarity": 3 * attacked, "clean": torch.tensor(1.0)}
    even = page.likely_actions(losses, Weights(), 0.0)
    assert torch.allclose(even["eps"], torch.full((3,), 1 / 3).double())
    sharp = page.likely_actions(losses, Weights(), 300.0)
    assert sharp["eps"].argmax() == 2
    assert torch.allclose(sharp["steps"], torch.full((2,), 0.5).double())
    assert page.likely_actions(losses, Weights(similarity=1.0), 300.0)["eps"].argmax() == 0


@pytest.mark.parametrize(
    ("name", "good", "bad", "words"),
    [
        ("ours-19", 0.001, 0.2, ["passed", "failed"]),
        ("ours-19b", 1.5, 1.1, ["passed", "failed"]),
    ],
)
def test_checks_of_the_attack_can_pass_and_fail(name, good, bad, words):
    assert [judge((value, value), registered_claim(name)) for value in (good, bad)] == words
