from dataclasses import replace

import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.dar_sfrl.losses import consistency, difference, mean_square_cosine
from lib.studies.dar_sfrl.networks import count_weights
from lib.studies.dar_sfrl.training import (
    DIFFERENCES,
    LOSSES,
    PAPER,
    RELEASED,
    STEPWISE,
    SUMMED,
    Network,
    Objective,
    Unrolled,
    train_dar,
)
from lib.training import loop
from lib.training.loop import Recipe, fit

TINY = Network(side=8, stages=2, channels=4, hidden=8, dim=6)
SMALL = {"degradations": ("noise 0.1", "signs 8/255"), "pose_negatives": 4}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=12):
    return torch.rand(n, 3, 8, 8, generator=generator(3))


def step(objective, people=None, turn=0):
    model = TINY.learner(objective, 100).train()
    model.turn += turn
    loss = Unrolled(faces(), objective, people)
    return model, loss(model, torch.arange(8), generator())


def test_the_paper_takes_all_four_losses_at_once():
    model, metrics = step(PAPER.but(**SMALL))
    assert set(metrics) == {"loss", *LOSSES}
    assert metrics["loss"].item() == pytest.approx(sum(metrics[name].item() for name in LOSSES), rel=1e-5)
    assert model.face_head is model.noise_head


def test_the_released_code_takes_turns():
    people = torch.arange(12) // 3
    parts = []
    for turn in range(3):
        model, metrics = step(RELEASED.but(**{"pose_negatives": 4}), people, turn)
        parts.append(set(metrics) - {"loss"})
    assert parts == [{"mae", "orthogonal", "mirror"}, {"face"}, {"noise"}]
    assert model.face_head is not model.noise_head
    assert not any(weight.requires_grad for weight in model.frozen.parameters())


def test_the_recipes_differ_in_the_listed_places_alone():
    changed = STEPWISE
    for name, change in DIFFERENCES.items():
        assert STEPWISE.but(**change) != STEPWISE
        if name != "one step on the sum":
            changed = changed.but(**change)
    assert changed == RELEASED
    assert STEPWISE.but(alternating=False) == SUMMED == PAPER.but(error="mean")


@pytest.mark.parametrize("name", DIFFERENCES)
def test_each_difference_can_be_switched_alone(name):
    _, metrics = step(STEPWISE.but(**SMALL | DIFFERENCES[name]), torch.arange(12) // 3)
    assert metrics["loss"].isfinite()


@pytest.mark.parametrize("left", LOSSES)
def test_a_single_loss_trains_alone(left):
    model, metrics = step(PAPER.but(losses=(left,), **SMALL))
    assert set(metrics) == {"loss", left}
    metrics["loss"].backward()
    assert model.restorer.stages[0].alpha.grad is not None


def test_restoration_is_made_of_the_losses():
    objective = SUMMED.but(degradations=("none",), losses=("mae", "orthogonal"))
    model, loss = TINY.learner(objective, 100).train(), Unrolled(faces(), objective)
    x = faces()[:6]
    stages = model.restorer.unroll(x)
    found = loss.restoration(model, x, x, generator())
    assert found["mae"].item() == pytest.approx(consistency(stages.faces, x).item(), rel=1e-6)
    by_stage = [
        mean_square_cosine(model.face_head(f.flatten(1)), model.noise_head(n.flatten(1)))
        for f, n in zip(*stages, strict=True)
    ]
    assert found["orthogonal"].item() == pytest.approx(sum(by_stage).item(), rel=1e-5)


def test_the_mirror_ties_both_faces_and_frozen_projections_stay():
    objective = SUMMED.but(degradations=("none",), mirror=True, orthogonality="frozen")
    model, loss, x = TINY.learner(objective, 100).train(), Unrolled(faces(), objective), faces()[:6]
    one, other = model.restorer.unroll(x), model.restorer.unroll(x.flip(3))
    found = loss.restoration(model, x, x, generator())
    mirror = sum((f - g).square().mean() for f, g in zip(one.faces, other.faces, strict=True))
    assert found["mirror"].item() == pytest.approx(mirror.item(), rel=1e-5)
    orthogonal = sum(
        difference(model.frozen[0](f.flatten(1)), model.frozen[1](n.flatten(1)))
        for stages in (one, other)
        for f, n in zip(*stages, strict=True)
    )
    assert found["orthogonal"].item() == pytest.approx(orthogonal.item(), rel=1e-4)


def test_targets_are_pictures_of_the_same_person():
    people = torch.tensor([0, 0, 0, 1, 1, -1, -1, 2, 2, 2, 2, 2])
    images = torch.arange(12.0).view(12, 1, 1, 1).expand(12, 3, 8, 8) / 12
    loss = Unrolled(images, PAPER.but(target="person"), people)
    model = TINY.learner(PAPER, 100)
    seen = set()
    for seed in range(20):
        drawn = (loss.targets(model, torch.arange(12), generator(seed))[:, 0, 0, 0] * 12).round().long()
        assert torch.equal(people[drawn], people)
        assert drawn[5:7].tolist() == [5, 6]
        seen.add(drawn[0].item())
    assert seen == {0, 1, 2}


def test_training_lowers_the_restoration_error_and_repeats():
    recipe = Recipe(steps=30, batch=6, rate=3e-3)
    objective = PAPER.but(losses=("mae",), degradations=("noise 0.2",))
    one = train_dar(faces(), TINY, objective, recipe)
    two = train_dar(faces(), TINY, objective, recipe)
    assert torch.equal(one["history"]["loss"], two["history"]["loss"])
    assert one["history"]["loss"][-5:].mean() < 0.8 * one["history"]["loss"][:5].mean()
    assert count_weights(TINY.loaded(one)) == 0  # frozen


def test_an_alternating_training_takes_three_steps_for_each():
    objective = RELEASED.but(pose_negatives=3, target="frame")
    history = train_dar(faces(), TINY, objective, Recipe(steps=2, batch=6))["history"]
    assert len(history["loss"]) == 6
    assert {name: len(history[name]) for name in ("mae", "face", "noise")} == {"mae": 2, "face": 2, "noise": 2}


def stopping_at(call):
    """`Unrolled.__call__`, interrupted at the given call."""
    calls, plain = [], Unrolled.__call__

    def take(self, *given):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return plain(self, *given)

    return take


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop, "digest", lambda *given: "same")  # the interrupted loss is another function
    objective = PAPER.but(**SMALL)
    recipe, loss = Recipe(steps=6, batch=6, rate=1e-2), Unrolled(faces(), objective)
    whole, killed, resumed = (TINY.learner(objective, 2) for _ in range(3))
    fit(whole, loss, 12, recipe, folder=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(Unrolled, "__call__", stopping_at(5))
        with pytest.raises(KeyboardInterrupt):
            fit(killed, loss, 12, recipe, folder=tmp_path / "killed")
    fit(resumed, loss, 12, recipe, folder=tmp_path / "killed")
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], equal_nan=True), name
    assert not torch.equal(resumed.weights.weights, torch.ones(2))


def test_wrong_objectives_are_told():
    with pytest.raises(WorkbookError, match="target is one of"):
        Objective(target="clip")
    with pytest.raises(WorkbookError, match="losses are among"):
        PAPER.but(losses=("triplet",))
    with pytest.raises(WorkbookError, match="no field"):
        PAPER.but(temperature=1)
    with pytest.raises(WorkbookError, match="know the people"):
        Unrolled(faces(), PAPER.but(target="person"))
    with pytest.raises(WorkbookError, match="one per image"):
        Unrolled(faces(), PAPER, torch.zeros(3, dtype=torch.long))
    assert replace(PAPER, mirror=True) == PAPER.but(mirror=True)
