"""Adversarial training against formulas written out image by image."""

import copy
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.adversarial import BASES, mart, natural, pgd_at, trades
from lib.models.preact import PreActResNet
from lib.models.resnets import ResNet
from lib.studies.ancra.adversarial_training import GAMMA, ANCRATraining, negative_contrast, total_loss
from lib.studies.ancra.classifiers import GatedClassifier, hard, labelled
from lib.studies.ancra.negatives import STRATEGIES, choose
from lib.training import adversarial, loop
from lib.training.loop import Recipe, fit
from tests.training.patterns import patterned

IMAGES, LABELS = patterned(people=3, each=4, side=8)
INDEX = torch.tensor([0, 4, 8, 1, 5, 9, 2, 6])
EPS = 8 / 255
LOGITS = 2 * torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0))  # clean, attacked, negative
CLASSES = torch.tensor([0, 1, 2, 3, 4, 0, 1])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def starts():
    torch.manual_seed(0)
    trunks = [ResNet(18, width=2, stem="half") for _ in range(3)]
    return [GatedClassifier(trunk, 3, gates).train() for gates, trunk in enumerate(trunks)]


@pytest.fixture(params=[0, 1, 2])
def model(request, starts):
    return copy.deepcopy(starts[request.param])


@pytest.fixture
def gated(starts):
    return copy.deepcopy(starts[2])


def training(**settings):
    return ANCRATraining(IMAGES, LABELS, **{"steps": 2, **settings})


# Losses -----------------------------------------------------------------------------------------------------------


def log_loss(logits, label):
    return -torch.log(logits[label].exp() / sum(value.exp() for value in logits))


def relative_entropy(clean, attacked):
    p, q = (row.exp() / row.exp().sum() for row in (clean, attacked))
    return sum(p[k] * torch.log(p[k] / q[k]) for k in range(len(p)))


def slow_mart(clean, attacked, label):
    p, q = (row.exp() / row.exp().sum() for row in (clean, attacked))
    wrong = max(q[k] for k in range(len(q)) if k != label)
    return -torch.log(q[label]) - torch.log(1.0001 - wrong) + 5 * (1 - p[label]) * relative_entropy(clean, attacked)


SLOW = {
    natural: lambda clean, attacked, label: log_loss(clean, label),
    pgd_at: lambda clean, attacked, label: log_loss(attacked, label),
    trades: lambda clean, attacked, label: log_loss(clean, label) + 6 * relative_entropy(clean, attacked),
    mart: slow_mart,
}


@pytest.mark.parametrize("base", SLOW)
def test_bases_image_by_image(base):
    clean, attacked, _ = LOGITS
    expected = sum(SLOW[base](clean[i], attacked[i], CLASSES[i]) for i in range(7)) / 7
    torch.testing.assert_close(base(clean, attacked, CLASSES), expected)


def test_trades_is_the_usual_call():
    """KL as the released codes of TRADES write it: `kl_div(log_softmax(adv), softmax(nat), sum) / n`."""
    clean, attacked, _ = LOGITS
    usual = F.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="sum") / 7
    torch.testing.assert_close(trades(clean, attacked, CLASSES), F.cross_entropy(clean, CLASSES) + 6 * usual)


def slow_contrast(clean, negative, alpha):
    total = 0.0
    for one, other in zip(clean.softmax(1), negative.softmax(1), strict=True):
        h = one.argmax()
        if h == other.argmax():
            push, pull = one[h].detach() * other[h], one[h] * other[h].detach()
            total = total + alpha * push.sqrt() + (1 - alpha) * pull.sqrt()
    return total / len(clean)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_negative_contrast_and_whom_it_moves(alpha):
    clean, negative = LOGITS[0].clone(), LOGITS[2].clone()
    negative[:4] = 2 * clean[:4] + 0.1  # the same class for these
    rows = clean.argmax(1) == negative.argmax(1)
    assert rows[:4].all()
    assert not rows.all()
    clean, negative = clean.requires_grad_(), negative.requires_grad_()
    found, expected = (loss(clean, negative, alpha) for loss in (negative_contrast, slow_contrast))
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, (clean, negative))
    for one, other in zip(gradients, torch.autograd.grad(expected, (clean, negative)), strict=True):
        torch.testing.assert_close(one, other)
        assert not one[~rows].any()
    to_clean, to_negative = (gradient[rows].abs().sum(1) > 0 for gradient in gradients)
    assert to_clean.all() if alpha < 1 else not to_clean.any()
    assert to_negative.all() if alpha > 0 else not to_negative.any()


def test_negative_contrast_of_sure_logits_is_finite():
    clean = torch.tensor([[200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    negative = torch.tensor([[300.0, 0.0], [0.0, 200.0]], requires_grad=True)
    found = negative_contrast(clean, negative, 0.5)
    torch.testing.assert_close(found, torch.tensor(0.5))
    assert all(part.isfinite().all() for part in torch.autograd.grad(found, (clean, negative)))


# The attack ---------------------------------------------------------------------------------------------------------


def pictures(index=INDEX):
    return IMAGES[index].float() / 255


@torch.no_grad()
def test_total_loss_image_by_image(model):
    model.eval()
    x, y, found = pictures(), LABELS[INDEX], model.outputs(pictures(), hard)
    targeted = torch.tensor([True, False, False, True, False, True, False, False])
    expected = []
    for i in range(8):
        value = log_loss(found.logits[i], y[i])
        if model.gates:
            value = value + GAMMA * sum(log_loss(part[i], y[i]) for part in found.auxiliary) / model.gates
        expected.append(-value if targeted[i] else value)
    torch.testing.assert_close(total_loss(model, y, targeted)(x), torch.stack(expected), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(total_loss(model, y)(x), torch.stack(expected).abs(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(total_loss(model, y, True)(x), -torch.stack(expected).abs(), rtol=1e-4, atol=1e-5)


def test_the_attack_is_the_sources_loop(model):
    """start + 0.001 N(0, 1), steps of 0.007 along the sign, projected on the ball and on [0,1]; in eval mode."""
    loss, x, y = training(steps=3), pictures(), LABELS[INDEX]
    noise = torch.randn(x.shape, generator=generator(5))
    model.eval()
    moved = (x + 0.001 * noise).clamp(0, 1)
    for _ in range(3):
        leaf = moved.clone().requires_grad_()
        found = model.outputs(leaf)
        value = F.cross_entropy(found.logits, y, reduction="sum")
        for part in found.auxiliary:
            value = value + 2 * F.cross_entropy(part, y, reduction="sum") / model.gates
        (slope,) = torch.autograd.grad(value, leaf)
        moved = torch.min(torch.max(moved + 0.007 * slope.sign(), x - EPS), x + EPS).clamp(0, 1)
    found = loss.attack(loss.objective(model.train(), y), x, generator(5))
    assert ((found - moved).abs() < 1e-5).float().mean() > 0.99  # rounding turns a few signs


def test_one_loop_over_both_attacks_equals_two(model):
    loss = training(zeta=1.0, steps=3, augment=False)
    examples = loss.examples(model, INDEX, generator(7))
    draw = generator(7)
    x, y = pictures(), LABELS[INDEX]
    rows = choose("targeted", y, draw)
    attacked = loss.attack(
        loss.objective(model, y), x, draw
    )  # the two draw the same starts as the one: one row after another
    negative = loss.attack(loss.objective(model, y, True), x[rows], draw)
    assert torch.equal(examples.clean, x)
    assert torch.equal(examples.negative_labels, y[rows])
    assert (examples.negative_labels != y).all()
    for one, two in ((examples.attacked, attacked), (examples.negative, negative)):
        assert ((one - two).abs() < 1e-5).float().mean() > 0.99
    model.eval()
    with torch.no_grad():
        assert total_loss(model, y)(examples.attacked).mean() > total_loss(model, y)(x).mean()
        assert total_loss(model, y)(examples.negative).mean() < total_loss(model, y)(x[rows]).mean()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("negatives", STRATEGIES)
@pytest.mark.parametrize("zeta", [0.0, 3.0])
def test_examples(gated, base, negatives, zeta):
    found = training(base=base, negatives=negatives, zeta=zeta).examples(gated, INDEX, generator())
    y = LABELS[INDEX]
    assert torch.equal(found.labels, y)
    assert (found.attacked is None) == (base == "natural")
    assert (found.negative is None) == (found.negative_labels is None) == (zeta == 0)
    for part in (part for part in (found.clean, found.attacked, found.negative) if part is not None):
        assert part.shape == (8, 3, 8, 8)
        assert part.dtype == torch.float32
        assert part.is_contiguous()
        low, high = part.aminmax()
        assert 0 <= low <= high <= 1
    if base != "natural":
        assert 0 < (found.attacked - found.clean).abs().max() <= EPS + 1e-6
    if zeta:
        assert (found.negative_labels != y).all()
        gaps = (found.negative[:, None] - found.clean).abs().amax((2, 3, 4))  # from each image of the batch
        assert torch.equal(y[gaps.argmin(1)], found.negative_labels)
        assert gaps.amin(1).max() <= (EPS + 1e-6 if negatives == "targeted" else 0)
        assert (gaps.amin(1) > 0).all() == (negatives == "targeted")


def test_examples_are_augmented_before_the_attack(gated):
    plain, moved = (training(augment=flag, steps=1).examples(gated, INDEX, generator()) for flag in (False, True))
    assert torch.equal(plain.clean, pictures())
    assert not torch.equal(plain.clean, moved.clean)
    assert ((moved.attacked - moved.clean).abs() <= EPS + 1e-6).all()


@pytest.mark.parametrize("negatives", ["hard", "targeted"])
def test_attacked_in_eval_mode_learning_in_train_mode(gated, negatives):
    modes, statistics = [], []
    gated.trunk.blocks[0][0].eval()  # a part that was frozen comes back frozen

    def note(module, inputs, output):
        modes.append((gated.training, len(output)))
        statistics.append(gated.trunk.stem[1].num_batches_tracked.item())

    gated.trunk.stem.register_forward_hook(note)
    training(zeta=1.0, negatives=negatives)(gated, INDEX, generator())
    inner = [(False, 8)] * 3 if negatives == "hard" else [(False, 16)] * 2  # hard: a look at the predictions first
    assert modes == [*inner, *[(True, 8)] * 3]
    assert statistics == [0] * len(inner) + [1, 2, 3]
    assert gated.training
    assert not gated.trunk.blocks[0][0].training
    assert all(weight.requires_grad for weight in gated.parameters())


# The whole ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("zeta", [0.0, 3.0])
def test_the_loss_written_out(model, base, zeta):
    """Algorithm 1: a pass for each kind of example, L(P') + 2 mean L(P); L is the base plus zeta ANC."""
    loss, twin = training(base=base, zeta=zeta, alpha=0.6), copy.deepcopy(model)
    examples = loss.examples(model, INDEX, generator())
    found = loss.measured(model, examples)
    y = examples.labels
    seen = [twin.outputs(examples.clean, labelled(y))]
    for images, labels in ((examples.attacked, y), (examples.negative, examples.negative_labels)):
        seen.append(None if images is None else twin.outputs(images, labelled(labels)))
    values = []
    for i in range(model.gates + 1):
        clean, attacked, negative = (None if part is None else part.heads[i] for part in seen)
        rows = range(8)
        slow = SLOW[BASES[base]]
        value = sum(slow(clean[i], None if attacked is None else attacked[i], y[i]) for i in rows) / 8
        values.append(value + zeta * slow_contrast(clean, negative, 0.6) if zeta else value)
    expected = values[0] + 2 * sum(values[1:]) / model.gates if model.gates else values[0]
    torch.testing.assert_close(found["loss"], expected, rtol=1e-3, atol=1e-4)
    blind = [part and (part.heads[1] if model.gates else part.logits) for part in seen]  # before any gate
    names = {"accuracy": blind[0], "accuracy attacked": blind[1]}
    if base == "PGD-AT" and not zeta:
        del names["accuracy"]  # then no clean image is passed
    names = {name: logits for name, logits in names.items() if logits is not None}
    assert found.keys() == {"loss", *names}
    for name, logits in names.items():
        assert found[name] == (logits.argmax(1) == y).float().mean()
    ours, theirs = (
        [*torch.autograd.grad(value, m.parameters())] for value, m in ((found["loss"], model), (expected, twin))
    )
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 1e-3 * other.norm() + 1e-4


def test_accuracies_do_not_see_the_label(gated):
    """With orthogonal weights the gate of the true class makes the logits behind it right; the metric stays blind."""
    with torch.no_grad():
        gated.fc.weight.copy_(100 * torch.eye(3, 16))
        gated.fc.bias.zero_()
    loss = training()
    examples = loss.examples(gated, INDEX, generator())
    wrong = examples._replace(labels=(examples.labels + 1) % 3)
    accuracies = [loss.measured(gated, part)["accuracy"] for part in (examples, wrong)]
    assert sum(accuracies) <= 1


@pytest.mark.parametrize("negatives", STRATEGIES)
def test_every_weight_learns_also_in_bfloat16(gated, negatives):
    with torch.autocast("cpu", torch.bfloat16):
        found = training(zeta=3.0, negatives=negatives, steps=1)(gated, INDEX, generator())
    found["loss"].backward()
    assert found["loss"].dtype == torch.float32
    assert not [name for name, weight in gated.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_pre_activation_networks_learn():
    torch.manual_seed(0)
    model = GatedClassifier(PreActResNet(18, width=2), 3, 2).train()
    training(zeta=1.0, base="MART")(model, INDEX, generator())["loss"].backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_fit_lowers_the_loss(starts, tmp_path):
    model = copy.deepcopy(starts[2])
    loss = training(steps=1, zeta=1.0, augment=False)
    history = fit(model, loss, 12, Recipe(steps=25, batch=12, rate=5e-3), folder=tmp_path)
    assert history["loss"][-4:].mean() < 0.7 * history["loss"][:4].mean()
    assert history["accuracy"][-4:].mean() > 0.8


LIVES = {"steps": 100}


class KilledError(Exception):
    pass


@dataclass(frozen=True, eq=False)
class Mortal(ANCRATraining):
    def __call__(self, model, index, generator):
        if LIVES["steps"] == 0:
            raise KilledError
        LIVES["steps"] -= 1
        return super().__call__(model, index, generator)


@pytest.mark.parametrize("negatives", ["hard", "targeted"])
def test_a_killed_run_ends_bitwise_as_if_never_killed(starts, negatives, tmp_path, monkeypatch):
    loss = Mortal(IMAGES, LABELS, zeta=3.0, steps=1, negatives=negatives)
    recipe = Recipe(steps=6, batch=8, rate=0.01, optimiser="sgd")
    whole, resumed, dead = (copy.deepcopy(starts[2]) for _ in range(3))
    wanted = fit(whole, loss, 12, recipe, folder=tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1.0)
        patch.setitem(LIVES, "steps", 4)
        with pytest.raises(KilledError):
            fit(dead, loss, 12, recipe, folder=tmp_path)
    torch.manual_seed(99)
    monkeypatch.setitem(LIVES, "steps", 2)  # no step is done twice
    found = fit(resumed, loss, 12, recipe, folder=tmp_path)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in resumed.state_dict().items())


def test_natural_training_attacks_no_more_than_it_needs(gated, monkeypatch):
    attacked = []
    monkeypatch.setattr(adversarial, "in_batches", lambda objective, x, *rest, **more: attacked.append(len(x)) or x)
    for zeta, expected in ((0.0, []), (1.0, [8])):
        training(base="natural", zeta=zeta)(gated, INDEX, generator())
        assert attacked == expected


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base": "FAT"}, "base is one of natural, PGD-AT, TRADES, MART, not 'FAT'"),
        ({"negatives": "easy"}, "negatives is one of random, soft, hard, targeted, not 'easy'"),
        ({"labels": LABELS[:3]}, "12 images came with 3 labels"),
        ({"zeta": -1.0}, "zeta is at least 0"),
        ({"alpha": 1.5}, "alpha in \\[0,1\\]"),
        ({"steps": 0}, "at least 1 step, not 0"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        ANCRATraining(IMAGES, **{"labels": LABELS, **settings})


def test_bad_batches(gated):
    with pytest.raises(WorkbookError, match="at least two classes"):
        training(zeta=1.0)(gated, torch.arange(4), generator())
    with pytest.raises(WorkbookError, match="align"):
        total_loss(gated, LABELS, torch.ones(3, dtype=torch.bool))
