"""Losses that remember: trained beside the model, resumed bitwise, the same over any cut of the batch."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.cache import digest
from lib.errors import WorkbookError
from lib.training import loop
from lib.training.loop import Recipe, fit
from lib.training.processes import Processes
from lib.training.state import EMA, Queue, StatefulLoss, Turn, rising_momentum
from tests.training.contrast import POINTS, Alternating, Contrast, encoder


class KilledError(Exception):
    pass


def everything(model, loss):
    return list(model.state_dict().values()) + list(loss.state_dict().values())


def run(kind, folder, recipe, held_out=None):
    model = encoder()
    loss = kind(POINTS, model)
    return model, loss, fit(model, loss, 20, recipe, held_out=held_out, folder=folder)


def norm(model):
    """A measure that is best in the middle of a training."""
    return abs(model[4].weight.norm().item() - 1.2)


@pytest.mark.parametrize("kind", [Contrast, Alternating])
@pytest.mark.parametrize("optimiser", ["adam", "sgd", "lars"])
@pytest.mark.parametrize("held_out", [None, norm])
def test_a_killed_run_with_a_state_ends_as_if_never_killed(kind, optimiser, held_out, tmp_path, monkeypatch):
    recipe = Recipe(9, 8, 0.05, optimiser, weight_decay=0.01, check_every=2, shards=3)
    model, loss, wanted = run(kind, tmp_path / "whole", recipe, held_out)
    update = kind.update
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1.0)

        def dying(self, model, rows):
            if self.done > 0.6:
                raise KilledError
            update(self, model, rows)

        patch.setattr(kind, "update", dying)
        with pytest.raises(KilledError):
            run(kind, tmp_path, recipe, held_out)
    files = list(tmp_path.glob("*.pt"))
    assert len(files) == 1
    steps = []
    monkeypatch.setattr(loop, "progress", lambda some, label: steps.extend(some) or steps)
    again, state, found = run(kind, tmp_path, recipe, held_out)
    assert steps == [6, 7, 8]  # it went on, and did not start anew
    assert all(torch.equal(a, b) for a, b in zip(everything(model, loss), everything(again, state), strict=True))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert not files[0].exists()


class Watched(Contrast):
    """Notes which examples and random numbers each step was given."""

    def __init__(self, x, model):
        super().__init__(x, model)
        self._seen = []

    def forward(self, model, index, generator):
        self._seen.append((index, generator.get_state()))
        return super().forward(model, index, generator)


def test_the_state_moves_as_a_plain_loop_moves_it(tmp_path):
    """Without dropout and schedule, in one piece: the textbook's loop, written out."""
    pair = []
    for _ in range(2):
        model = encoder()
        model[2].p = 0.0
        pair.append((model, Watched(POINTS, model)))
    (model, loss), (twin, other) = pair
    fit(model, loss, 20, Recipe(4, 8, 0.1, "sgd", momentum=0.9, schedule="constant"), folder=tmp_path)
    optimiser = torch.optim.SGD([*twin.parameters(), *other.predictor.parameters()], 0.1, momentum=0.9)
    for step, (index, state) in enumerate(loss._seen):
        generator = torch.Generator()
        generator.set_state(state)
        optimiser.zero_grad()
        found = other(twin, index, generator)
        found["loss"].backward()
        optimiser.step()
        other.done = step / 4
        torch.manual_seed(1_000_000_007 + step + loop.TURN)
        with torch.no_grad():
            other.update(twin, {"keys": found["keys"]})
    assert all(torch.equal(a, b) for a, b in zip(everything(model, loss), everything(twin, other), strict=True))


def test_what_needs_no_gradient_is_not_trained(tmp_path):
    model = encoder()
    loss = Contrast(POINTS, model)
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    fit(model, loss, 20, Recipe(3, 8, 0.1), folder=tmp_path)
    moved = {name for name, value in loss.state_dict().items() if not torch.equal(value, before[name])}
    assert {"predictor.0.weight", "queue.rows", "queue.place", "centre", "teacher.model.0.weight"} <= moved
    assert all(not weight.requires_grad for weight in loss.teacher.parameters())
    assert not loss.training


def test_a_state_is_cut_like_the_batch(tmp_path):
    """Three pieces: rows come in the batch's order, the queue holds exactly what was pushed, means are means."""

    class Rows(StatefulLoss):
        def __init__(self):
            super().__init__()
            self.queue = Queue(7, 1)
            self.register_buffer("calls", torch.zeros(()))
            self.seen = []

        def settings(self):
            return {}

        def forward(self, model, index, generator):
            self.calls += 1 + index[0].float() * 0
            return {
                "loss": model.weight.sum(),
                "first": index[:, None].float(),
                "both": torch.cat([index, index]),
            }

        def update(self, model, rows):
            self.seen.append((rows, self.queue.rows.clone()))
            self.queue.push(rows["first"])

    loss = Rows()
    start = loss.queue.rows.clone()
    fit(nn.Linear(1, 1), loss, 7, Recipe(3, 7, 0.1, shards=3), folder=tmp_path)
    assert loss.calls == 3  # each piece counts one up from the last step's
    assert torch.equal(loss.seen[0][1], start)
    for rows, _ in loss.seen:
        index = rows["first"].flatten().long()
        assert sorted(index.tolist()) == list(range(7))
        pieces = index.tensor_split(3)
        assert torch.equal(rows["both"], torch.cat([torch.cat([piece, piece]) for piece in pieces]))
    for (rows, _), (_, after) in zip(loss.seen, loss.seen[1:], strict=False):
        assert torch.equal(after, rows["first"])


def test_a_large_value_survives_pieces_that_do_not_touch_it():
    state = nn.Module()
    state.register_buffer("rows", torch.rand(1000, generator=torch.Generator().manual_seed(3)) * 1e3)
    before = state.rows.clone()
    for shards in (3, 5, 7):
        Processes().share(nn.Linear(1, 1), lambda shard: {"loss": 0.0}, shards, state)
        assert torch.equal(state.rows, before)


def test_rows_that_do_not_fit_the_batch():
    with pytest.raises(WorkbookError, match="A piece of 4 examples came with 3 rows of 'keys'"):
        Processes().gathered({0: {"keys": torch.zeros(3, 2)}}, [4])


def test_turns_move_their_own_weights_in_their_order(tmp_path):
    class Two(StatefulLoss):
        """The first pulls the model towards the policy, the second the policy away from where the model now is."""

        turns = (
            Turn("follow", ("model.",), {"rate": 0.5}),
            Turn("lead", ("loss.policy",), {"rate": 0.1, "clip": 0.25}),
        )

        def __init__(self):
            super().__init__()
            self.policy = nn.Parameter(torch.ones(1, 1))

        def follow(self, model, index, generator):
            return {
                "loss": (model.weight - self.policy).square().sum() / 2,
                "draw": torch.rand((), generator=generator),
            }

        def lead(self, model, index, generator):
            return {"loss": -(self.policy - model.weight).sum() * 2, "draw 2": torch.rand((), generator=generator)}

    model, loss = nn.Linear(1, 1, bias=False), Two()
    nn.init.zeros_(model.weight)
    recipe = Recipe(3, 2, 1.0, "sgd", momentum=0.0, schedule="constant")
    history = fit(model, loss, 2, recipe, folder=tmp_path)
    weight, policy, follow, lead = 0.0, 1.0, [], []
    for _ in range(3):
        follow.append((weight - policy) ** 2 / 2)
        weight += 0.5 * (policy - weight)
        lead.append(-2 * (policy - weight))
        policy += 0.1 * 0.25
    assert model.weight.item() == pytest.approx(weight)
    assert loss.policy.item() == pytest.approx(policy)
    assert history["follow"].tolist() == pytest.approx(follow)
    assert history["lead"].tolist() == pytest.approx(lead)
    assert "loss" not in history
    assert len({*history["draw"].tolist(), *history["draw 2"].tolist()}) == 6  # no turn repeats another's numbers


def test_data_settings_and_start_key_the_checkpoint(tmp_path, monkeypatch):
    names = []
    monkeypatch.setattr(loop, "digest", lambda *values: names.append(digest(*values)) or names[-1])
    recipe = Recipe(1, 8, 0.05)

    def key(x=POINTS, size=11, frozen=False, done=0.0):
        model = encoder()
        torch.manual_seed(1)
        loss = Contrast(x, model, size)
        loss.predictor.requires_grad_(not frozen)
        loss.done = done
        fit(model, loss, 20, recipe, folder=tmp_path)
        return names[-1]

    same = key()
    assert key() == same
    assert key(done=0.5) == same
    assert len({same, key(POINTS + 1), key(size=12), key(frozen=True)}) == 4


def test_a_teacher_follows_as_lightly_s_does():
    from lightly.models.utils import update_momentum

    torch.manual_seed(0)
    model, start = nn.Linear(3, 2), nn.Linear(3, 2)
    ours, theirs = EMA(start), EMA(start)
    for _ in range(3):
        ours.follow(model, 0.9)
        update_momentum(model, theirs.model, 0.9)
    torch.testing.assert_close(ours.model.weight, theirs.model.weight)
    wanted = 0.9**3 * start.weight + (1 - 0.9**3) * model.weight
    torch.testing.assert_close(ours.model.weight, wanted)
    assert start.weight.requires_grad
    assert not ours.model.weight.requires_grad
    assert torch.equal(ours(torch.ones(1, 3)), ours.model(torch.ones(1, 3)))


def test_momentum_rises_to_one():
    assert rising_momentum(0.99, 0) == pytest.approx(0.99)
    assert rising_momentum(0.99, 0.5) == pytest.approx(0.995)
    assert rising_momentum(0.99, 1) == 1
    assert rising_momentum(0.9, 0.25) == pytest.approx(1 - 0.1 * (math.cos(math.pi / 4) + 1) / 2)


def test_a_queue_replaces_the_oldest_and_wraps():
    queue = Queue(5, 2, seed=4)
    torch.testing.assert_close(queue.rows.norm(dim=1), torch.ones(5))
    assert torch.equal(queue.rows, Queue(5, 2, seed=4).rows)
    slow = queue.rows.tolist()
    place = 0
    for turn, size in enumerate([2, 2, 2, 5, 1]):
        rows = torch.full((size, 2), float(turn)) + torch.arange(size)[:, None] / 10
        queue.push(rows)
        for row in rows.tolist():
            slow[place % 5] = row
            place += 1
        assert queue.rows.tolist() == slow
    with pytest.raises(WorkbookError, match=r"takes up to 5 rows of its width, not \(6, 2\)"):
        queue.push(torch.zeros(6, 2))
    with pytest.raises(WorkbookError, match=r"not \(2, 3\)"):
        queue.push(torch.zeros(2, 3))


def test_bad_turns_and_modules(tmp_path):
    with pytest.raises(WorkbookError, match="All turns of a step share steps"):
        Turn("forward", ("model.",), {"steps": 3})

    class Nowhere(Contrast):
        turns = (Turn("forward", ("loss.teacher",)),)

    with pytest.raises(WorkbookError, match="The turn 'forward' has no weight to move"):
        run(Nowhere, tmp_path, Recipe(1, 8))

    class Plain(nn.Module):
        def forward(self, model, index, generator):
            return {"loss": model(POINTS[index]).sum()}

    with pytest.raises(WorkbookError, match="Plain is a module, so it has a state: derive it from StatefulLoss"):
        fit(encoder(), Plain(), 20, Recipe(1), folder=tmp_path)


def test_lars_is_lightly_s_with_plain_steps_for_biases_and_norms(tmp_path):
    from lightly.utils.lars import LARS

    with pytest.raises(WorkbookError, match="LARS needs a weight_decay above 0"):
        Recipe(1, optimiser="lars")
    model, twin = encoder(), encoder()
    recipe = Recipe(3, 8, 0.5, "lars", weight_decay=0.01, schedule="constant")

    class Square(StatefulLoss):
        def forward(self, model, index, generator):
            return {"loss": sum((weight - 1).square().sum() for weight in model.parameters())}

    fit(model, Square(), 8, recipe, folder=tmp_path)
    groups = [
        {"params": [w for w in twin.parameters() if w.ndim > 1], "weight_decay": 0.01},
        {"params": [w for w in twin.parameters() if w.ndim == 1], "weight_decay": 0.0},
    ]
    optimiser = LARS(groups, lr=0.5, momentum=0.9)
    for _ in range(3):
        optimiser.zero_grad()
        sum((weight - 1).square().sum() for weight in twin.parameters()).backward()
        optimiser.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    # by hand, the first step: 0.001 |w| / (|g| + decay |w|) (g + decay w)
    weight = encoder()[0].weight
    gradient = 2 * (weight - 1)
    scale = 1e-3 * weight.norm() / (gradient.norm() + 0.01 * weight.norm() + 1e-8)
    once = encoder()
    fit(once, Square(), 8, Recipe(1, 8, 0.5, "lars", weight_decay=0.01, schedule="constant"), folder=tmp_path)
    torch.testing.assert_close(once[0].weight, weight - 0.5 * scale * (gradient + 0.01 * weight))
    assert F.cosine_similarity((weight - once[0].weight).flatten(), gradient.flatten(), dim=0) > 0.99
