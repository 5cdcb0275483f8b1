"""AWP, SAT, S2O and FairARD against slow versions, hand-computed cases, and a kill."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.attacks import PGD
from lib.cache import digest
from lib.errors import WorkbookError
from lib.losses.adversarial import trades
from lib.models.resnets import ResNet
from lib.studies.ancra.adversarial_training import ANCRATraining
from lib.studies.ancra.awp_sat import AWP, SAT, Tracked
from lib.studies.ancra.classifiers import GatedClassifier
from lib.studies.ancra.fair_ard import FairARD, class_weights, steps_survived
from lib.studies.ancra.s2o import S2O, unlike_labels
from lib.training import loop
from lib.training.adversarial import AdversarialTraining, AttackedBatch
from lib.training.loop import Recipe, fit

CLASSES = 3


def small(seed=0, gates=0):
    torch.manual_seed(seed)
    return GatedClassifier(ResNet(18, 4, "half"), CLASSES, gates)


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (9, 3, 16, 16), generator=generator).byte(), torch.arange(9) % CLASSES


def drawn(seed=5):
    return torch.Generator().manual_seed(seed)


class Linear(nn.Module):
    """Logits are the image's channels: by hand. The weight only tells the device."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, CLASSES)

    def forward(self, x):
        return x.mean((2, 3)) + 0 * self.fc.bias


# AWP ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "gates"), [("TRADES", 0), ("PGD-AT", 0), ("MART", 2)])
def test_the_gradient_of_awp_is_that_of_a_moved_copy(data, base, gates):
    model, loss = small(gates=gates).train(), ANCRATraining(*data, base=base, steps=2)
    proxy, moved = copy.deepcopy(model), copy.deepcopy(model)
    found = AWP(loss, gamma=0.3)(model, torch.arange(6), drawn())
    found["loss"].backward()
    examples = loss.examples(proxy, torch.arange(6), drawn())
    loss.measured(proxy, examples)["loss"].backward()
    with torch.no_grad():
        for weight, probe in zip(moved.parameters(), proxy.parameters(), strict=True):
            if weight.ndim > 1:
                weight += 0.3 * weight.norm() / probe.grad.norm() * probe.grad
    wanted = loss.measured(moved, examples)
    wanted["loss"].backward()
    torch.testing.assert_close(found, wanted)
    for one, other in zip(model.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)
    for one, other in zip(model.buffers(), moved.buffers(), strict=True):
        torch.testing.assert_close(one, other)  # of the second pass alone


def test_awp_climbs_and_leaves_the_weights(data):
    loss, index = AdversarialTraining(*data, steps=1), torch.arange(9)
    values = []
    for gamma in (0.0, 0.005):
        model = small().train()
        before = copy.deepcopy(model.state_dict())
        values.append(AWP(loss, gamma)(model, index, drawn())["loss"].item())
        assert all(torch.equal(before[name], weight) for name, weight in model.named_parameters())
        assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    plain = loss(small().train(), index, drawn())["loss"].item()
    assert values[0] == pytest.approx(plain, rel=1e-6)
    assert values[1] > plain


def test_awp_moves_the_targets_of_sat_once_and_trains_under_autocast(data):
    sat = SAT(*data, warmup=0, steps=1, augment=False)
    both = [sat.tracked(small()).train() for _ in range(2)]
    AWP(sat, 0.0)(both[0], torch.arange(6), drawn())
    sat(both[1], torch.arange(6), drawn())
    torch.testing.assert_close(both[0].targets, both[1].targets)
    assert both[0].seen == 6
    model = small()
    fit(model, AWP(AdversarialTraining(*data, steps=1)), 9, Recipe(2, 4, amp=True, optimiser="sgd"))
    assert all(weight.isfinite().all() for weight in model.parameters())


# SAT ----------------------------------------------------------------------------------------------------------------


def test_targets_of_two_steps_by_hand(data):
    """Three images, an epoch of warm-up, then the clean probabilities enter by a tenth."""
    images = torch.eye(3)[:, :, None, None].expand(-1, -1, 4, 4).contiguous()
    sat = SAT(images, torch.tensor([0, 1, 0]), warmup=1, momentum=0.9, steps=1, augment=False)
    model = sat.tracked(Linear())
    assert model.targets.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    batch = AttackedBatch(images, images, sat.labels)
    p = torch.eye(3).softmax(1)
    first = sat.measured(model, (batch, torch.arange(3)))
    assert model.targets.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    torch.testing.assert_close(first["loss"], -(2 * p[0, 0].log() + p[2, 0].log()) / 3)
    second = sat.measured(model, (batch, torch.arange(3)))
    one_hot = torch.eye(3)[sat.labels]
    targets = 0.9 * one_hot + 0.1 * p
    torch.testing.assert_close(model.targets, targets)
    weights = targets.max(1).values
    known = -(targets * p.log()).sum(1)
    torch.testing.assert_close(second["loss"], (known * weights).sum() / weights.sum())
    torch.testing.assert_close(second["certainty"], weights.mean())
    sat.measured(model, (AttackedBatch(images[:1], images[:1], sat.labels[:1]), torch.tensor([2])))
    torch.testing.assert_close(model.targets[2], 0.9 * targets[2] + 0.1 * p[0])  # the row follows the index
    torch.testing.assert_close(model.targets[:2], targets[:2])


def test_a_warm_sat_is_trades(data):
    sat, plain = SAT(*data, warmup=5, steps=2), AdversarialTraining(*data, base="TRADES", steps=2)
    model = sat.tracked(small()).train()
    found, wanted = sat(model, torch.arange(6), drawn()), plain(small().train(), torch.arange(6), drawn())
    torch.testing.assert_close({key: found[key] for key in wanted}, wanted)
    assert found["certainty"] == 1


def steps_of(kind, data, teacher=None):
    if kind == "SAT":
        return SAT(*data, warmup=0.5, steps=1)
    return FairARD(*data, teacher=teacher, steps=2)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("kind", ["SAT", "FairARD"])
def test_a_killed_run_ends_as_if_never_killed(kind, data, tmp_path, monkeypatch):
    loss, recipe = steps_of(kind, data, small(3).eval()), Recipe(6, 4, 0.01, "sgd", seed=2)
    whole, resumed = loss.tracked(small()), loss.tracked(small())
    wanted = fit(whole, loss, 9, recipe, folder=tmp_path / "whole")
    advance, done = loop._Descent.advance, []

    def mortal(descent, step):
        if step == 4 and len(done) == 4:
            raise KilledError
        done.append(step)
        advance(descent, step)

    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loop._Descent, "advance", mortal)
    with pytest.raises(KilledError):
        fit(loss.tracked(small()), loss, 9, recipe, folder=tmp_path)
    done.append("killed")
    found = fit(resumed, loss, 9, recipe, folder=tmp_path)
    assert done == [0, 1, 2, 3, "killed", 4, 5]
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    fresh = loss.tracked(small()).state_dict()
    moved = {"SAT": "targets", "FairARD": "weights"}[kind]
    assert not torch.equal(whole.state_dict()[moved], fresh[moved])


def test_a_tracked_model_is_its_model():
    model = small(gates=1).eval()
    tracked, x = Tracked(model, seen=torch.zeros(())), torch.rand(2, 3, 16, 16)
    assert torch.equal(tracked(x), model(x))
    assert torch.equal(tracked.outputs(x).auxiliary[0], model.outputs(x).auxiliary[0])
    assert (tracked.gates, tracked.fc, "seen" in tracked.state_dict()) == (1, model.fc, True)


# S2O ----------------------------------------------------------------------------------------------------------------


def slow_labels(logits, labels, share):
    classes = logits.shape[1]
    second = [[abs(sum(z[j] * z[k] for z in logits.tolist())) for k in range(classes)] for j in range(classes)]
    rows = []
    for y in labels.tolist():
        rest = [max(second[y]) - second[y][k] if k != y else 0.0 for k in range(classes)]
        rows.append([share if k == y else (1 - share) * rest[k] / sum(rest) for k in range(classes)])
    return torch.tensor(rows)


def test_soft_labels_against_loops():
    logits, labels = torch.randn(7, 4, generator=drawn()), torch.tensor([0, 3, 1, 1, 2, 0, 3])
    found = unlike_labels(logits, labels, 0.3)
    torch.testing.assert_close(found, slow_labels(logits, labels, 0.3))
    torch.testing.assert_close(found.sum(1), torch.ones(7))


@pytest.mark.parametrize("base", ["PGD-AT", "TRADES"])
def test_s2o_against_its_formula(data, base):
    loss = S2O(*data, base=base, weight=0.3, steps=1, share=0.4)
    model = small().train()
    examples = loss.examples(copy.deepcopy(model), torch.arange(9), drawn())
    twin = copy.deepcopy(model)
    z, z_a = (twin(x) for x in (examples.clean, examples.attacked))
    y = examples.labels
    known = F.cross_entropy(z_a if base == "PGD-AT" else z, y)
    rest = 0 if base == "PGD-AT" else trades(z, z_a, y) - known
    soft = [slow_labels(part.detach(), y, 0.4) for part in (z, z_a)]
    parts = [
        (t * (t.clamp(min=1e-20).log() - part.log_softmax(1))).sum(1).mean()
        for t, part in zip(soft, (z, z_a), strict=True)
    ]
    slow = 0.7 * known + rest + 0.3 * sum(parts) / 2
    found = loss(model, torch.arange(9), drawn())
    torch.testing.assert_close(found["loss"], slow)
    found["loss"].backward()
    slow.backward()
    torch.testing.assert_close(model.fc.weight.grad, twin.fc.weight.grad, rtol=1e-4, atol=1e-6)


# FairARD ------------------------------------------------------------------------------------------------------------


def test_class_weights_by_hand():
    """1/4, 1/16 and 1/100 are scaled to a mean of 1; what falls early is cut at 5/2, what falls late at 5/6."""
    raw = torch.tensor([1 / 4, 1 / 16, 1 / 100])
    wanted = (3 * raw / raw.sum()).clamp(5 / 6, 5 / 2)
    torch.testing.assert_close(class_weights(torch.tensor([2.0, 4.0, 10.0])), wanted, rtol=1e-4, atol=1e-5)
    assert wanted[1:].tolist() == pytest.approx([5 / 6, 5 / 6])
    assert class_weights(torch.full((4,), 7.0)).tolist() == pytest.approx([1.0] * 4)
    torch.testing.assert_close(class_weights(torch.tensor([0.0, 10.0, 10.0])), torch.tensor([5 / 2, 5 / 6, 5 / 6]))


def marginal():
    """Images whose own channel leads by 0.05, 0.21 and 1, of classes 0, 1 and 2: steps of 0.03 take twice that."""
    images = torch.zeros(3, 3, 2, 2) + 0.4
    for row, lead in enumerate((0.05, 0.21, 0.6)):
        images[row, row] += lead
    return images


def test_steps_survived_by_hand():
    """A step of 0.03 down on one channel and up on the others: a lead of 0.05 falls after one, of 0.21 after four."""
    settings = PGD.but(steps=6, step=0.03, start="gaussian")
    found = steps_survived(Linear(), marginal(), torch.arange(3), 0.5, settings, drawn())[1]
    assert found.tolist() == [1, 4, 6]
    wrong = steps_survived(Linear(), marginal(), torch.tensor([0, 0, 2]), 0.5, settings, drawn())[1]
    assert wrong.tolist() == [1, 0, 6]


def test_the_counted_attack_is_the_plain_one(data):
    loss = FairARD(*data, teacher=small(3), steps=3)
    model = small().train()
    batch, survived = loss.examples(model, torch.arange(6), drawn())
    plain = AdversarialTraining(*data, base="PGD-AT", steps=3).examples(model, torch.arange(6), drawn())
    assert torch.equal(batch.attacked, plain.attacked)
    assert torch.equal(batch.clean, plain.clean)
    assert ((survived >= 0) & (survived <= 3)).all()


@pytest.mark.parametrize("soft", [1.0, 0.4])
def test_fair_distillation_by_a_loop(data, soft):
    weights, teacher = torch.tensor([0.9, 1.5, 0.7]), small(3)
    loss = FairARD(*data, teacher=teacher, temperature=5.0, soft=soft, steps=1)
    model = loss.tracked(small().train())
    model.weights.copy_(weights)
    batch, survived = loss.examples(model, torch.arange(6), drawn())
    twin = copy.deepcopy(model)
    clean, attacked = twin(batch.clean), twin(batch.attacked)
    taught = copy.deepcopy(teacher).eval()(batch.clean).detach()
    slow = 0
    for z, z_a, t, y in zip(clean, attacked, taught, batch.labels, strict=True):
        p, q = (t / 5).softmax(0), (z_a / 5).softmax(0)
        kl = sum(a * math.log(a) - a * b.log() for a, b in zip(p.tolist(), q, strict=True))
        slow = slow + weights[y] * (soft * 25 * kl - (1 - soft) * z.log_softmax(0)[y]) / 6
    found = loss.measured(model, (batch, survived))
    torch.testing.assert_close(found["loss"], slow, rtol=1e-4, atol=1e-4)
    found["loss"].backward()
    assert all(weight.grad is None for weight in teacher.parameters())
    assert teacher.training  # its mode comes back


def test_the_student_s_own_weights_by_hand():
    """Three images an epoch: their steps set the weights of the next, and counting starts anew."""
    loss = FairARD(marginal(), torch.arange(3), teacher=Linear(), steps=6)
    model = loss.tracked(Linear())
    one = loss.counted(model, torch.tensor([0, 1]), torch.tensor([2.0, 4.0]))
    two = loss.counted(model, torch.tensor([2]), torch.tensor([5.0]))
    assert one.tolist() == two.tolist() == [1, 1, 1]
    three = loss.counted(model, torch.tensor([1]), torch.tensor([3.0]))
    torch.testing.assert_close(three, class_weights(torch.tensor([2.0, 4.0, 5.0])))
    assert model.count.tolist() == [0, 1, 0]
    assert model.survived.tolist() == [0, 3, 0]


# All ----------------------------------------------------------------------------------------------------------------


def test_losses_are_keyed_by_what_they_are(data):
    base = AdversarialTraining(*data, base="TRADES")
    one, other = small(3), small(4)
    losses = [base, AWP(base), AWP(base, 0.01), SAT(*data, warmup=1), SAT(*data, warmup=2), AWP(SAT(*data, warmup=2))]
    losses += [S2O(*data), S2O(*data, weight=0.3), FairARD(*data, teacher=one), FairARD(*data, teacher=other)]
    keys = [digest(loss) for loss in losses]
    assert len(set(keys)) == len(keys)
    assert digest(SAT(*data, warmup=1)) == digest(SAT(*data, warmup=1))


def test_a_few_steps_of_each(data):
    teacher = small(3)
    for loss in (S2O(*data, steps=1), FairARD(*data, teacher=teacher, steps=1)):
        model = loss.tracked(small()) if isinstance(loss, FairARD) else small()
        history = fit(model, loss, 9, Recipe(2, 4, 0.01, "sgd"))
        assert {"loss", "accuracy", "accuracy attacked"} < history.keys()
        assert not model.training


def test_bad_input(data):
    with pytest.raises(WorkbookError, match="SAT stands on TRADES, not on MART"):
        SAT(*data, warmup=1, base="MART")
    with pytest.raises(WorkbookError, match="SAT takes a warmup of 0 or more epochs and a momentum in"):
        SAT(*data, warmup=-1)
    with pytest.raises(WorkbookError, match="S2O stands on PGD-AT, TRADES, not on MART"):
        S2O(*data, base="MART")
    with pytest.raises(WorkbookError, match=r"S2O's weight and share lie in \[0,1\], not 2.0 and 0.2"):
        S2O(*data, weight=2.0)
    with pytest.raises(WorkbookError, match="gamma is a share of each weight's norm, at least 0, not -1"):
        AWP(AdversarialTraining(*data), -1.0)
    with pytest.raises(WorkbookError, match="The teacher knows 3 classes, but labels up to 3 came"):
        FairARD(data[0], torch.full_like(data[1], 3), teacher=small())
    with pytest.raises(WorkbookError, match="temperature above 0"):
        FairARD(*data, teacher=small(), temperature=0.0)
    with pytest.raises(WorkbookError, match=r"keeps its targets in the model: train `loss.tracked\(model\)`"):
        SAT(*data, warmup=1, steps=1)(small(), torch.arange(4), drawn())
    with pytest.raises(WorkbookError, match="classifiers without gates, but one with 1 came"):
        S2O(*data, steps=1)(small(gates=1), torch.arange(4), drawn())
