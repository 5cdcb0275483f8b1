"""Turns, losses and controls of the training against formulas written out and counts by hooks."""

from dataclasses import replace

import pytest
import torch

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows
from lib.studies.robust_ssl.adversarial.methods import ACL
from lib.studies.robust_ssl.adversarial.strength import Strength
from lib.studies.robust_ssl.adversarial.training import SelfATPlan, step_passes, train_self_at
from lib.studies.robust_ssl.astra.plugged import DynACLLearnt, RoCLLearnt
from lib.studies.robust_ssl.astra.reward import similarity
from lib.studies.robust_ssl.astra.strategy import Ranges
from lib.studies.robust_ssl.astra.training import (
    ASTrA,
    Strategy,
    StrategyAlone,
    step_cost,
    train_with_strategy,
)
from lib.training import loop
from lib.training.passes import forward_equivalents
from lib.training.recipes import Recipe
from tests.studies.robust_ssl.astra.small import SIZES, draw, plan, prepared
from tests.studies.robust_ssl.small import pictures

INDEX = torch.arange(8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RUNS", tmp_path)


def recipe(steps=4):
    return Recipe(steps, batch=8, rate=1e-3)


def test_the_loss_is_acls_and_half_the_mixed_one():
    model, loss = prepared()
    clean, adversarial = (torch.nn.functional.normalize(torch.randn(16, 6, generator=draw(s)), dim=1) for s in (0, 1))
    found = loss.combined(clean, adversarial)
    acl = (nt_xent_rows(clean, 0.5).mean() + nt_xent_rows(adversarial, 0.5).mean()) / 2
    assert torch.allclose(found["loss"], acl + 0.5 * similarity(clean, adversarial).mean())
    _, plain = prepared(mixed=0.0)
    assert torch.allclose(plain.combined(clean, adversarial)["loss"], acl)


def test_a_fixed_strategy_without_the_mixed_loss_is_acl():
    ranges = Ranges((8,), (2,), (2,))
    learnt = Strategy("fixed", ranges, action=(8, 2, 2))
    own = SelfATPlan(ASTrA, SIZES, ASTrA.Options(learnt=learnt, mixed=0.0))
    acl = SelfATPlan(ACL, SIZES, ACL.Options(strength=Strength("8/255", "2/255", 2)))
    found = []
    for made in (own, acl):
        model = made.model().train()
        found.append(made.loss(pictures(), model)(model, INDEX, draw()))
    assert found[0]["clean loss"] == found[1]["clean loss"]
    assert found[0]["attacked loss"].item() == pytest.approx(found[1]["attacked loss"].item(), rel=0.05)  # other starts
    assert passes_alike(own, acl)


def passes_alike(one, other):
    return step_passes(pictures(), one) == step_passes(pictures(), other)


def test_the_strategy_learns_when_it_is_due_and_stays_otherwise():
    found = train_with_strategy(pictures(), plan(every=3), recipe(5))
    history = found["history"]
    assert history["strategy_loss"].ne(0).tolist() == [False, False, True, False, False]
    assert len(history["reward"]) == 1
    assert len(history["entropy eps"]) == 5
    never = train_with_strategy(pictures(), plan(every=99), recipe(5))
    new = plan().loss(pictures(), plan().model(), recipe().seed).strategy
    assert all(torch.equal(never["strategy"][name], weight) for name, weight in new.named_parameters())
    moved = [not torch.equal(found["strategy"][name], weight) for name, weight in new.named_parameters()]
    assert all(moved[-6:])  # the heads


def test_each_training_has_a_strategy_of_its_own():
    first, again, other = (train_with_strategy(pictures(), plan(), replace(recipe(1), seed=s)) for s in (0, 0, 1))
    assert torch.equal(first["begun"]["heads.0.weight"], again["begun"]["heads.0.weight"])
    assert not torch.equal(first["begun"]["heads.0.weight"], other["begun"]["heads.0.weight"])
    assert torch.equal(first["begun"]["heads.0.weight"], first["strategy"]["heads.0.weight"])  # never due


def test_a_clipped_gradient_does_not_hear_one_reward_for_all():
    """Where every gradient is longer than the clip, a positive factor common to all views drops out."""
    found = []
    for credit in ("batch", "constant"):
        model, loss = prepared(StrategyAlone, every=1, credit=credit, rate=1.0, clip=1e-6)
        loop.fit(model, loss, 12, replace(recipe(4), schedule="constant"))
        found.append({name: weight.clone() for name, weight in loss.strategy.named_parameters()})
    assert all(torch.allclose(weight, found[1][name], atol=1e-5) for name, weight in found[0].items())


class PaidForBudget(StrategyAlone):
    """Pays the largest budget alone, and attacks nobody."""

    def moved(self, model, views, actions, generator):
        self._seen = actions
        return views

    def rewards(self, model, views, moved):
        return (self._seen.values("eps") == 15).float()


def test_a_strategy_paid_for_one_action_learns_it():
    model, loss = prepared(PaidForBudget, every=1, credit="view with baseline", rate=1.0)
    history = loop.fit(model, loss, 12, replace(recipe(40), schedule="constant"))
    assert history["mean eps"][-10:].mean() > history["mean eps"][:10].mean() + 2
    assert history["entropy eps"][-1] < history["entropy eps"][0]


def test_a_strategy_alone_leaves_the_encoder():
    model, loss = prepared(StrategyAlone, every=1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = loop.fit(model, loss, 12, recipe(2))
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert len(history["reward"]) == 2


@pytest.mark.parametrize("policy", ["uniform", "fixed", "annealed"])
def test_controls_have_nothing_to_learn(policy):
    found = train_with_strategy(pictures(), plan(policy=policy), recipe(6))
    assert "strategy_loss" not in found["history"]
    eps = found["history"]["mean eps"]
    if policy == "annealed":
        assert eps.tolist() == [4, 4, 8, 8, 8, 15]  # round(2 * done)
    if policy == "fixed":
        assert set(eps.tolist()) == {8}
        assert found["history"]["entropy eps"].eq(0).all()
    if policy == "uniform":
        assert found["history"]["entropy eps"].sub(1).abs().max() < 1e-5


def test_a_resumed_training_is_the_same(monkeypatch, tmp_path):
    made, steps = plan(every=2), recipe(6)
    whole = train_with_strategy(pictures(), made, steps)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1)
    advance = loop._Descent.advance

    def killed(self, step):
        if step == 3:
            raise KeyboardInterrupt
        advance(self, step)

    monkeypatch.setattr(loop._Descent, "advance", killed)
    with pytest.raises(KeyboardInterrupt):
        train_with_strategy(pictures(), made, steps)
    monkeypatch.setattr(loop._Descent, "advance", advance)
    resumed = train_with_strategy(pictures(), made, steps)
    assert all(torch.equal(whole["strategy"][name], value) for name, value in resumed["strategy"].items())
    assert torch.equal(whole["history"]["encoder_loss"], resumed["history"]["encoder_loss"])


@pytest.mark.parametrize("kind", [DynACLLearnt, RoCLLearnt])
def test_plugged_into_other_methods(kind):
    found = train_with_strategy(pictures(), plan(kind, every=1), recipe(2))
    assert len(found["history"]["reward"]) == 2
    assert found["history"]["mean eps"].ge(4).all()


def test_rocl_attacks_the_first_views_alone():
    model, loss = prepared(RoCLLearnt)
    views = loss.two_views(model, INDEX, draw())
    actions = loss.drawn(loss.logits(loss.seen(views)), draw())
    moved = loss.moved(model, views, actions, draw())
    assert moved.shape == (8, 3, 16, 16)
    far = (moved - views[:8]).abs().amax((1, 2, 3))
    assert (far <= actions.eps + 1e-6).all()
    assert loss.rewards(model, views, moved).shape == (8,)
    assert loss.rewards(model, views, views[:8]).abs().max() < 1e-6  # nothing moved, nothing earned


def test_cost_of_a_step_against_counted_passes():
    made = plan(policy="fixed", action=(8, 2, 1))
    found = forward_equivalents(step_passes(pictures(), made))
    assert found == step_cost(torch.full((8,), 2), made.options.learnt) == 2 * 2 * 2 + 12
    learnt = plan(every=10**6)
    model = learnt.model()
    loss = learnt.loss(pictures(4), model)
    counts = loss.drawn(loss.logits(loss.two_views(model, torch.arange(4), draw())), draw()).steps
    assert 14 <= step_cost(counts, learnt.options.learnt) < step_cost(counts, plan(every=1).options.learnt)


def test_what_does_not_exist_is_refused():
    with pytest.raises(WorkbookError, match="A policy is one of"):
        Strategy("greedy")
    with pytest.raises(WorkbookError, match="every 1 or more steps"):
        Strategy(every=0)


def test_the_common_trainer_takes_it_too():
    assert "history" in train_self_at(pictures(), plan(), recipe(1))
