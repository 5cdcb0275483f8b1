"""The study of page 19: budgets of its arms, its plan, and that what the page reads is kept by the plan's jobs."""

import pytest
import torch

from lib import cache
from lib.book import run as book
from lib.errors import WorkbookError
from lib.studies.robust_ssl.astra import training as trainings
from lib.studies.robust_ssl.astra.study import CLOSE, CONTROLS, PARTS, AskedArm, strategy_study_for
from lib.training import loop


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    return strategy_study_for(book.start("19_astra", profile="smoke", device="cpu"))


def test_controls_cost_what_astra_costs(study):
    study.scale.steps = 1000
    study.__dict__["candidate_accuracies"] = {4: 0.2, 8: 0.3, 12: 0.3}
    assert study.best_fixed == (8, 1, 2)
    history = {"mean steps": torch.tensor([1.5, 1.5])}  # drawn evenly from 1 and 2
    study.read |= {AskedArm("ASTrA", seed): {"history": history} for seed in study.scale.seeds}
    whole = study.arm_steps("ASTrA") * study.arm_cost("ASTrA")
    assert study.arm_steps("ASTrA") == study.arm_steps("ACL + mixed") == 1000
    for arm in CONTROLS:
        assert study.arm_steps(arm) * study.arm_cost(arm) == pytest.approx(whole, rel=0.01)
        assert study.arm_steps(arm) > 1000
    fewer = study.arm_steps("uniform")
    history["mean steps"] = torch.tensor([2.0, 2.0])  # the longest attack: two more passes a view, and for its turn
    longer = study.passes_along("ASTrA")
    assert longer == pytest.approx(whole + 1000 * 2 * 2 * 0.5 * (1 + 1 / study.scale.interval))
    assert study.arm_steps("uniform") > fewer


def test_arms_are_what_they_are_called(study):
    study.__dict__["candidate_accuracies"] = {4: 0.2}
    learnt = {arm: study.arm_plan(arm).options for arm in (*PARTS, *CONTROLS, "mended")}
    assert [learnt[arm].mixed for arm in PARTS] == [0.5, 0.0, 0.5]
    assert learnt["fixed"].learnt.action == (4, 1, 2)
    assert learnt["ASTrA"].learnt.credit == "batch"
    assert learnt["ASTrA"].learnt.shared_seed
    assert learnt["mended"].learnt.credit == "view with baseline"
    assert not learnt["mended"].learnt.shared_seed
    with pytest.raises(WorkbookError, match="This page trains"):
        study.arm_plan("GAN")
    with pytest.raises(WorkbookError, match="Strategies learn alone"):
        study.alone("GAN")


def test_the_plan_begins_with_the_ablation_and_estimates_its_minutes(study):
    names = list(study.plan())
    assert names[:3] == [f"ASTrA {arm} 0" for arm in PARTS]
    assert names[6] == "ASTrA candidates"
    assert {"ASTrA control mended 1", "ASTrA in RoCL 0", "ASTrA AFF ASTrA 1", "ASTrA earned by mended"} <= set(names)
    assert all(study.minutes_of(name) > 0 for name in names)
    study.scale.order_seeds = [0, 1, 2]
    more = [name for name in study.plan() if " more " in name]
    assert more == [f"ASTrA more {arm} 2" for arm in CLOSE]
    assert "ASTrA control annealed 1" not in names  # no verdict stands on it


def test_what_the_page_reads_is_kept_by_the_plan(study, monkeypatch):
    jobs = study.plan()
    for name in ("ASTrA ASTrA 0", "ASTrA ASTrA 1", "ASTrA alone mended 0"):
        jobs[name]()
    monkeypatch.setattr(trainings, "fit", lambda *given, **more: pytest.fail("a training"))
    found = study.preferred()
    assert found["eps"].shape == (2, 2 * study.scale.shown)
    assert found["p eps"].shape == (2, 3)
    assert study.drawn_gradients()["scores"].shape == (3, 8, 7)
    assert study.losses_of_actions()["attacked"].shape == (3, 2, 2, 4)
    assert len(study.alone("mended")["history"]["reward"]) == study.scale.alone_steps
    begun, ended = study.arm_strategy(new=True), study.arm_strategy()
    assert not torch.equal(begun.heads[0].weight, ended.heads[0].weight)
