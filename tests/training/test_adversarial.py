"""Plain adversarial training of any model with logits, against its steps written out."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.attacks import PGD, Linf, ascend, cross_entropy
from lib.errors import WorkbookError
from lib.losses.adversarial import BASES
from lib.models.classifiers import Classifier
from lib.models.resnets import ResNet
from lib.training.adversarial import AdversarialTraining, measures
from lib.training.loop import Recipe, fit
from tests.training.patterns import patterned

IMAGES, LABELS = patterned(people=3, each=4, side=8)
INDEX = torch.tensor([0, 4, 8, 1, 5, 9])


def drawn(seed=5):
    return torch.Generator().manual_seed(seed)


def small():
    torch.manual_seed(0)
    return Classifier(ResNet(18, width=2, stem="half"), 3).train()


@pytest.mark.parametrize("base", BASES)
def test_a_step_written_out(base):
    loss = AdversarialTraining(IMAGES, LABELS, base=base, steps=3, augment=False)
    model, twin = small(), small()
    x, y = IMAGES[INDEX].float() / 255, LABELS[INDEX]
    climb = PGD.but(steps=3, step=0.007, start="gaussian")
    moved = ascend(cross_entropy(twin, y), x, Linf("8/255"), climb, generator=drawn())
    clean, attacked = twin(x), twin(moved)
    found = loss(model, INDEX, drawn())
    torch.testing.assert_close(found["loss"], BASES[base](clean, attacked, y))
    rates = {"accuracy": clean, "accuracy attacked": attacked}
    rates.pop({"natural": "accuracy attacked", "PGD-AT": "accuracy"}.get(base), None)
    assert found.keys() == {"loss", *rates}
    for name, logits in rates.items():
        assert found[name] == (logits.argmax(1) == y).float().mean()


def test_the_attack_climbs_in_eval_mode_and_stays_near():
    loss, model = AdversarialTraining(IMAGES, LABELS, steps=5, augment=False), small()
    before = copy.deepcopy(model.state_dict())
    batch = loss.examples(model, INDEX, drawn())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert 0 < (batch.attacked - batch.clean).abs().max() <= 8 / 255 + 1e-6
    with torch.no_grad():
        model.eval()
        clean, attacked = (F.cross_entropy(model(images), batch.labels) for images in (batch.clean, batch.attacked))
    assert attacked > clean


def test_any_module_with_logits_learns():
    """Images that differ in one channel alone: a linear model learns them under attack."""
    images = torch.zeros(12, 3, 4, 4)
    images[torch.arange(12), torch.arange(12) % 3] = 0.8
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    loss = AdversarialTraining(images, torch.arange(12) % 3, base="PGD-AT", steps=2, augment=False)
    history = fit(model, loss, 12, Recipe(60, batch=12, rate=0.05))
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    assert history["accuracy attacked"][-1] == 1


def test_augmented_before_the_attack():
    plain, moved = (
        AdversarialTraining(IMAGES, LABELS, steps=1, augment=flag).examples(small(), INDEX, drawn())
        for flag in (False, True)
    )
    assert torch.equal(plain.clean, IMAGES[INDEX].float() / 255)
    assert not torch.equal(plain.clean, moved.clean)
    assert ((moved.attacked - moved.clean).abs() <= 8 / 255 + 1e-6).all()


def test_metrics_have_no_gradient_but_the_loss():
    logits = torch.randn(4, 3, requires_grad=True)
    found = measures(logits.sum(), torch.arange(4) % 3, logits, None, extra=logits.mean())
    assert found.keys() == {"loss", "accuracy", "extra"}
    assert found["loss"].requires_grad
    assert not found["extra"].requires_grad


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"base": "FAT"}, "base is one of natural, PGD-AT, TRADES, MART, not 'FAT'"),
        ({"labels": LABELS[:3]}, "12 images came with 3 labels"),
        ({"steps": 0}, "at least 1 step, not 0"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        AdversarialTraining(IMAGES, **{"labels": LABELS, **settings})
