"""The training loop on straight lines: resuming, the schedule, and what it refuses."""

import math
from dataclasses import dataclass, field

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.training import loop
from lib.training.loop import Recipe, fit

LIVES = {"steps": math.inf}  # how many more steps `Line` survives


class KilledError(Exception):
    pass


@dataclass(frozen=True, eq=False)
class Line:
    """Squared error of noisy targets: the noise takes the step's generator, the network's dropout the global one."""

    x: torch.Tensor
    y: torch.Tensor

    def __call__(self, model, index, generator):
        LIVES["steps"] -= 1
        if LIVES["steps"] < 0:
            raise KilledError
        noise = 0.1 * torch.randn(len(index), 1, generator=generator)
        return {"loss": (model(self.x[index]) - self.y[index] - noise).square().mean(), "first": index[0].float()}


@dataclass(frozen=True, eq=False)
class Sloped:
    """A loss whose gradient is `slope` at each weight, whatever the examples."""

    slope: float

    def __call__(self, model, index, generator):
        return {"loss": self.slope * sum(weight.sum() for weight in model.parameters())}


@dataclass(frozen=True, eq=False)
class Seen:
    """Notes which examples and seeds a step was given."""

    steps: list
    seeds: list = field(default_factory=list)

    def __call__(self, model, index, generator):
        self.steps.append(index.tolist())
        self.seeds.append((generator.initial_seed(), torch.initial_seed()))
        return {"loss": 0 * model.weight.sum()}


def line(count=10):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return Line(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 1))


def half_frozen():
    model = network()
    model[0].requires_grad_(False)
    return model


def zeros(*sizes):
    """Linear maps of one input, all weights zero, named 0, 1, ..."""
    model = nn.ModuleList([nn.Linear(1, size, bias=False) for size in sizes])
    for weight in model.parameters():
        nn.init.zeros_(weight)
    return model


@dataclass(frozen=True, eq=False)
class Measure:
    """For `fit`'s `held_out`: how far the first weight is from -0.45; notes the mode it is taken in."""

    modes: list = field(default_factory=list)

    def __call__(self, model):
        self.modes.append((model.training, torch.is_grad_enabled()))
        return abs(model[0].weight.item() + 0.45)


def unknown(model):
    return math.nan


def distance(model):
    """A measure that falls and rises again on the way: the output's distance from 0.3 at one point."""
    return (model(torch.ones(1, 3)) - 0.3).abs().item()


def same_state(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def killed(monkeypatch, folder, recipe, step, held_out=None, model=None):
    """A run that saves after each step and dies in step `step`; gives its checkpoint."""
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1.0)
        patch.setitem(LIVES, "steps", step)
        with pytest.raises(KilledError):
            fit(model or network(), line(), 10, recipe, held_out=held_out, folder=folder)
    (checkpoint,) = folder.glob("*.pt")
    return checkpoint


RECIPES = {
    "adam": Recipe(steps=12, batch=4, rate=0.02, weight_decay=0.01, warmup=3),
    "sgd": Recipe(steps=12, batch=4, rate=0.02, optimiser="sgd", schedule="halve", halve_every=5, clip=1.0),
    "shares": Recipe(steps=12, batch=4, rate=0.02, optimiser="sgd", shares={"0.": 0.1}),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("step", [1, 7, 11])
@pytest.mark.parametrize("held_out", [None, distance])
def test_a_killed_run_ends_as_if_never_killed(recipe, step, held_out, tmp_path, monkeypatch):
    recipe = Recipe(**{**vars(recipe), "check_every": 3})
    whole, resumed = network(), network()
    wanted = fit(whole, line(), 10, recipe, held_out=held_out, folder=tmp_path / "whole")
    killed(monkeypatch, tmp_path, recipe, step, held_out)
    torch.manual_seed(99)  # the state of the outer generator is not to matter
    monkeypatch.setitem(LIVES, "steps", 12 - step)  # no step is done twice
    found = fit(resumed, line(), 10, recipe, held_out=held_out, folder=tmp_path)
    assert same_state(whole, resumed)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_checkpoints_go_when_the_run_ends(tmp_path, monkeypatch):
    recipe = RECIPES["adam"]
    killed(monkeypatch, tmp_path, recipe, 5)
    model = network()
    fit(model, line(), 10, recipe, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not model.training


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_counts_for_nothing(damage, tmp_path, monkeypatch):
    recipe, whole, again = RECIPES["adam"], network(), network()
    fit(whole, line(), 10, recipe, folder=tmp_path / "whole")
    checkpoint = killed(monkeypatch, tmp_path, recipe, 5)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100] if damage is None else damage)
    history = fit(again, line(), 10, recipe, folder=tmp_path)
    assert len(history["loss"]) == 12
    assert same_state(whole, again)
    assert not checkpoint.exists()


def test_a_checkpoint_serves_its_own_run_alone(tmp_path, monkeypatch):
    checkpoint = killed(monkeypatch, tmp_path, RECIPES["adam"], 5)
    before = checkpoint.read_bytes()
    for model, loss, recipe in (
        (network(1), line(), RECIPES["adam"]),
        (network(), Line(line().x, -line().y), RECIPES["adam"]),
        (network(), line(), RECIPES["sgd"]),
        (half_frozen(), line(), RECIPES["adam"]),
    ):
        assert len(fit(model, loss, 10, recipe, folder=tmp_path)["loss"]) == 12
    fit(network(), line(), 10, RECIPES["adam"], held_out=distance, folder=tmp_path)
    assert checkpoint.read_bytes() == before


def test_the_outer_generator_goes_on_untouched(tmp_path):
    model = network()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    fit(model, line(), 10, RECIPES["adam"], folder=tmp_path)
    assert torch.equal(torch.rand(3), wanted)


def test_the_schedules():
    cosine = Recipe(steps=10, warmup=4)
    assert [cosine.factor(step) for step in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    rest = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1.0), 6)
    for step in range(4, 10):
        assert cosine.factor(step) == pytest.approx(rest.get_last_lr()[0])
        rest.optimizer.step()
        rest.step()
    halve = Recipe(steps=10, schedule="halve", halve_every=3)
    assert [halve.factor(step) for step in range(10)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert {Recipe(steps=10, schedule="constant").factor(step) for step in range(10)} == {1.0}


def test_the_rate_and_its_shares_reach_the_weights(tmp_path):
    """Plain SGD on a slope of one: each weight walks the sum of its rates."""
    recipe = Recipe(4, 2, 0.1, "sgd", momentum=0.0, schedule="halve", halve_every=2, shares={"1.": 0.5, "2.": 0.0})
    model = zeros(1, 1, 1, 1)
    fit(model, Sloped(1.0), 2, recipe, folder=tmp_path)
    walked = 0.1 * (1 + 1 + 0.5 + 0.5)
    torch.testing.assert_close(torch.cat([*model.parameters()]).flatten(), -walked * torch.tensor([1, 0.5, 0, 1]))


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_the_optimisers_are_torch_s(kind, tmp_path):
    model, twin = network(), network()
    recipe = Recipe(3, 2, 0.1, kind, momentum=0.8, weight_decay=0.2, schedule="constant")
    fit(model, Sloped(1.0), 2, recipe, folder=tmp_path)
    settings = {"lr": 0.1, "weight_decay": 0.2} | ({"momentum": 0.8} if kind == "sgd" else {})
    optimiser = {"adam": torch.optim.AdamW, "sgd": torch.optim.SGD}[kind](twin.parameters(), **settings)
    for _ in range(3):
        optimiser.zero_grad()
        sum(weight.sum() for weight in twin.parameters()).backward()
        optimiser.step()
    assert same_state(model, twin)


def test_frozen_weights_stay(tmp_path):
    model = zeros(1, 1)
    model[0].requires_grad_(False)
    fit(model, Sloped(1.0), 2, Recipe(2, 2), folder=tmp_path)
    assert model[0].weight.item() == 0
    assert model[1].weight.item() < 0


@pytest.mark.parametrize(("clip", "length"), [(None, 10.0), (2.0, 2.0), (50.0, 10.0)])
def test_clipping_bounds_the_whole_gradient(clip, length, tmp_path):
    model = zeros(1, 3)  # the gradient is (5, 5, 5, 5): of length 10 over all weights
    recipe = Recipe(1, 2, 1.0, "sgd", momentum=0.0, schedule="constant", clip=clip)
    fit(model, Sloped(5.0), 2, recipe, folder=tmp_path)
    walked = torch.cat([weight.flatten() for weight in model.parameters()])
    assert walked.norm().item() == pytest.approx(length, rel=1e-5)


def test_the_best_held_out_weights_remain(tmp_path):
    """The weight falls by 0.1 a step; the measure is best at step 5, and checked at 2, 4, 6, 7."""
    recipe = Recipe(7, 2, 0.1, "sgd", momentum=0.0, schedule="constant", check_every=2)
    model, measure = zeros(1), Measure()
    history = fit(model, Sloped(1.0), 2, recipe, held_out=measure, folder=tmp_path)
    assert history["checked"].tolist() == [2, 4, 6, 7]
    torch.testing.assert_close(history["held_out"], torch.tensor([0.25, 0.05, 0.15, 0.25]))
    assert model[0].weight.item() == pytest.approx(-0.4)
    assert set(measure.modes) == {(False, False)}
    last = zeros(1)
    fit(last, Sloped(1.0), 2, recipe, folder=tmp_path)
    assert last[0].weight.item() == pytest.approx(-0.7)


def several(model):
    return {"weight": model[0].weight.item(), "other": 1.0}


def lost(model):
    return {"loss": 1.0}


def chosen(model):
    return several(model) | {"held_out": abs(model[0].weight.item() + 0.18)}


def test_measures_by_name_are_kept_and_one_of_them_chooses(tmp_path):
    recipe = Recipe(4, 2, 0.1, "sgd", momentum=0.0, schedule="constant", check_every=1)
    for measure, last in ((several, -0.4), (chosen, -0.2)):
        model = zeros(1)
        history = fit(model, Sloped(1.0), 2, recipe, held_out=measure, folder=tmp_path)
        torch.testing.assert_close(history["weight"], torch.tensor([-0.1, -0.2, -0.3, -0.4]))
        assert history["checked"].tolist() == [1, 2, 3, 4]
        assert ("held_out" in history) == (measure is chosen)
        assert model[0].weight.item() == pytest.approx(last)


def test_names_of_loss_and_measure_differ(tmp_path):
    with pytest.raises(WorkbookError, match="both give 'loss'"):
        fit(zeros(1), Sloped(1.0), 2, Recipe(2, 2), held_out=lost, folder=tmp_path)


def test_an_epoch_shows_every_example_once_in_a_fresh_order(tmp_path):
    seen = []
    fit(nn.Linear(1, 1), Seen(seen), 7, Recipe(6, 3, 0.1), folder=tmp_path)
    epochs = [seen[start] + seen[start + 1] for start in (0, 2, 4)]  # 2 batches of 3; one example is left out
    assert all(len(set(epoch)) == 6 and set(epoch) <= set(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    few = []
    fit(nn.Linear(1, 1), Seen(few), 2, Recipe(3, 32, 0.1), folder=tmp_path)
    assert [sorted(batch) for batch in few] == [[0, 1]] * 3


def test_another_seed_is_another_run(tmp_path):
    models = [network() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        fit(model, line(), 10, Recipe(3, 4, 0.02, seed=seed), folder=tmp_path)
    assert same_state(models[0], models[1])
    assert not same_state(models[0], models[2])
    loss = Seen([])
    for seed in (0, 1, 2):
        fit(nn.Linear(1, 1), loss, 2, Recipe(50, 2, seed=seed), folder=tmp_path)
    seeds = [seed for both in loss.seeds for seed in both]  # of the losses' generator, of the global one
    assert len(set(seeds)) == 2 * 150  # no stream of numbers is met twice


@dataclass(frozen=True, eq=False)
class Draws:
    """Notes the first number of each piece's generator."""

    numbers: list

    def __call__(self, model, index, generator):
        self.numbers.append(torch.rand((), generator=generator).item())
        return {"loss": 0 * model.weight.sum()}


def test_pieces_of_a_batch_draw_numbers_of_their_own(tmp_path):
    loss = Draws([])
    fit(nn.Linear(1, 1), loss, 8, Recipe(4, 8, shards=4), folder=tmp_path)
    assert len(set(loss.numbers)) == 16


@pytest.mark.parametrize("slope", [math.nan, math.inf])
def test_a_loss_gone_wrong_is_said(slope, tmp_path):
    model = nn.Linear(1, 1)
    with pytest.raises(WorkbookError, match=r"The loss became -?(nan|inf) at step 0: lower the rate or clip"):
        fit(model, Sloped(slope), 2, Recipe(2, 2), folder=tmp_path)


def test_a_measure_gone_wrong_is_said(tmp_path):
    with pytest.raises(WorkbookError, match="measure held_out became nan at step 2"):
        fit(nn.Linear(1, 1), Sloped(0.1), 2, Recipe(4, 2, check_every=2), held_out=unknown, folder=tmp_path)


def test_bad_recipes(tmp_path):
    with pytest.raises(WorkbookError, match=r"optimiser is one of .*adam.*sgd.*, not 'lion'"):
        Recipe(steps=1, optimiser="lion")
    with pytest.raises(WorkbookError, match="schedule is one of .* not 'linear'"):
        Recipe(steps=1, schedule="linear")
    for wrong in ({"steps": 0}, {"steps": 1, "batch": 0}, {"steps": 1, "rate": 0.0}, {"steps": 1, "check_every": 0}):
        with pytest.raises(WorkbookError, match="at least 1 and a rate above 0"):
            Recipe(**wrong)
    with pytest.raises(WorkbookError, match="'halve' needs halve_every"):
        Recipe(steps=1, schedule="halve")
    for wrong in (
        {"schedule": "falls"},
        {"falls": ((0.5, 0.1),)},
        {"schedule": "falls", "falls": ((0.5, 0.1), (0.2, 0.5))},
    ):
        with pytest.raises(WorkbookError, match="with the schedule 'falls' alone"):
            Recipe(steps=5, **wrong)
    for wrong in ({"warmup": -1}, {"clip": 0.0}, {"clip": -1.0}, {"clip": math.nan}):
        with pytest.raises(WorkbookError, match="warmup is 0 or more steps and its clip above 0 or None"):
            Recipe(steps=1, **wrong)
    with pytest.raises(WorkbookError, match="for 'head', but no weight's name starts so"):
        fit(network(), line(), 10, Recipe(1, shares={"head": 0.1}), folder=tmp_path)
    with pytest.raises(WorkbookError, match="A batch of 3 cannot be cut into 4 shards"):
        fit(network(), line(), 3, Recipe(1, shards=4), folder=tmp_path)
    with pytest.raises(WorkbookError, match="nothing to train on"):
        fit(network(), line(), 0, Recipe(1), folder=tmp_path)
