import copy
import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from pytorch_metric_learning.losses import NTXentLoss, SupConLoss
from pytorch_metric_learning.reducers import MeanReducer

from lib.attacks import nt_xent_rows
from lib.errors import WorkbookError
from lib.losses.contrastive import alignment, supervised_contrastive, uniformity
from lib.models.dual_norm import DualBatchNorm2d, route
from lib.models.encoders import FaceEncoder, Projected, projector
from lib.training.adversarial_contrast import (
    VARIANTS,
    AdversarialContrast,
    InstanceContrast,
    health,
    several_views,
)
from lib.training.loop import Recipe, fit
from lib.transforms.views import FACES

IMAGES = (torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255).byte()
LABELS = torch.tensor([0, 0, 0, 1, 1, 1, -1, -1, -1, -1, 4, 4])
UNLABELLED = torch.full((12,), -1)
EVERY = torch.arange(12)


@dataclass(frozen=True)
class Same:
    """No augmentation."""

    def __call__(self, x, generator):
        return x


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def rows(n=12, d=5, seed=0):
    return F.normalize(torch.randn(2 * n, d, generator=generator(seed), dtype=torch.float64), dim=1).float()


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    encoder = FaceEncoder((16, 16), width=4, stem="half", dim=8, norm=DualBatchNorm2d)
    return Projected(encoder, projector(32, 16, 8))


@pytest.fixture
def model(start):
    return copy.deepcopy(start).train()


def slow(both, labels, temperature):
    """L_out term by term."""
    n, losses = len(labels), []
    for i in range(2 * n):
        label = labels[i % n]
        positives = [k for k in range(2 * n) if k != i and (k % n == i % n or (label >= 0 and labels[k % n] == label))]
        every = sum(torch.exp(both[i] @ both[k] / temperature) for k in range(2 * n) if k != i)
        terms = [-torch.log(torch.exp(both[i] @ both[k] / temperature) / every) for k in positives]
        losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("labels", [LABELS, UNLABELLED, torch.zeros(12, dtype=torch.long)])
@pytest.mark.parametrize("temperature", [0.5, 0.05])
def test_the_loss_and_its_gradient_equal_the_double_loop(labels, temperature):
    both = rows().requires_grad_()
    fast, expected = supervised_contrastive(both, labels, temperature), slow(both, labels, temperature)
    torch.testing.assert_close(fast, expected)
    gradients = [torch.autograd.grad(loss, both)[0] for loss in (fast, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_the_extremes_equal_pytorch_metric_learning():
    both, own = rows(), torch.arange(12).repeat(2)
    none = supervised_contrastive(both, UNLABELLED, 0.3)
    torch.testing.assert_close(none, NTXentLoss(0.3)(both, own))
    torch.testing.assert_close(none, nt_xent_rows(both, 0.3).mean())
    labels = EVERY % 4
    theirs = SupConLoss(0.3, reducer=MeanReducer())(both, labels.repeat(2))
    torch.testing.assert_close(supervised_contrastive(both, labels, 0.3), theirs)


def test_without_labels_it_is_lightly_s_nt_xent():
    from lightly.loss import NTXentLoss as Theirs

    both = rows()
    theirs = Theirs(0.3)(*both.chunk(2))
    torch.testing.assert_close(supervised_contrastive(both, UNLABELLED, 0.3), theirs)


def test_the_loss_is_float32_under_autocast():
    both = rows()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(supervised_contrastive(both, LABELS, 0.1), supervised_contrastive(both.float(), LABELS, 0.1))
        inside = supervised_contrastive(both, LABELS, 0.1)
    assert torch.equal(inside, supervised_contrastive(both, LABELS, 0.1))


def test_health_by_hand():
    both = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = health(both)
    torch.testing.assert_close(found["alignment"], torch.tensor(1.0))  # (2 + 0) / 2
    torch.testing.assert_close(found["uniformity"], torch.tensor(-4.0))  # log exp(-2 * 2)
    assert all(value == 0 for value in health(torch.ones(6, 2)).values())


def test_the_single_variant_is_the_loss_of_a_view_and_its_attack(model):
    other = copy.deepcopy(model)
    loss = AdversarialContrast(IMAGES, Same(), steps=2)
    found = loss(model, EVERY, generator())
    x = IMAGES.float() / 255
    moved = loss.attack(other, x, generator(), other=x)
    assert ((moved - x).abs() <= 8 / 255 + 1e-6).all()
    with route(other, "clean"):
        clean = other.embed(x)
    with route(other, "adversarial"):
        both = torch.cat([clean, other.embed(moved)])
    torch.testing.assert_close(found["loss"], nt_xent_rows(both, 0.5).mean())
    torch.testing.assert_close(found["alignment"], (both[:12] - both[12:]).square().sum(1).mean())


def test_the_dual_variant_is_the_mean_of_two_streams(model):
    other = copy.deepcopy(model)
    loss = AdversarialContrast(IMAGES, Same(), variant="dual", steps=2)
    found = loss(model, EVERY, generator())["loss"]
    x = (IMAGES.float() / 255).repeat(2, 1, 1, 1)
    moved, parts = loss.attack(other, x, generator()), []
    for name, images in (("clean", x), ("adversarial", moved)):
        with route(other, name):
            parts.append(nt_xent_rows(other.embed(images), 0.5).mean())
    torch.testing.assert_close(found, sum(parts) / 2)


def test_without_an_attack_it_is_simclr(model):
    found = AdversarialContrast(IMAGES, FACES, variant="clean")(model, EVERY, generator(3))
    draw, x = generator(3), IMAGES.float() / 255
    views = torch.cat([FACES(x, draw), FACES(x, draw)])
    torch.testing.assert_close(found["loss"], nt_xent_rows(model.embed(views), 0.5).mean())


@pytest.mark.parametrize("variant", ["single", "dual"])
def test_the_attack_raises_the_loss_that_training_lowers(model, variant):
    loss = AdversarialContrast(IMAGES, FACES, variant=variant)
    x = FACES(IMAGES.float() / 255, generator())
    x = x if variant == "single" else torch.cat([x, FACES(IMAGES.float() / 255, generator(1))])
    moved = loss.attack(model, x, generator(), other=x if variant == "single" else None)
    model.eval()
    with torch.no_grad(), route(model, "adversarial"):
        raised, noise = model.embed(moved), model.embed((x + (8 / 255) * torch.randn_like(x).sign()).clamp(0, 1))
    with torch.no_grad(), route(model, "clean"):
        clean = model.embed(x)
    pairs = (lambda z: torch.cat([clean, z])) if variant == "single" else (lambda z: z)
    before, after = (nt_xent_rows(pairs(z), 0.5).mean() for z in (noise, raised))
    assert after > before + 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_routes_renew_their_own_statistics_and_the_attack_none(model, variant):
    loss = AdversarialContrast(IMAGES, FACES, variant=variant, steps=1)
    before = {name: value.clone() for name, value in model.named_buffers()}
    loss(model, EVERY, generator())["loss"].backward()
    moved = {name for name, value in model.named_buffers() if not torch.equal(before[name], value)}
    expected = {name for name in before if name.split(".")[-2] in ("clean", "adversarial")}
    if variant == "clean":
        expected = {name for name in expected if ".clean." in name}
    assert moved == expected
    counts = {value.item() for name, value in model.named_buffers() if name in moved and "tracked" in name}
    assert counts == {1}
    assert model.training


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_weight_learns_also_in_bfloat16(model, variant):
    loss = AdversarialContrast(IMAGES, FACES, LABELS, variant=variant, steps=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(model, EVERY, generator())
    found["loss"].backward()
    assert found["loss"].dtype == torch.float32
    unused = (".adversarial.", "encoder.embedding") if variant == "clean" else ("encoder.embedding",)
    for name, weight in model.named_parameters():
        if not any(part in name for part in unused):
            assert weight.grad is not None, name
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("variant", VARIANTS)
def test_fit_lowers_the_loss(model, variant, tmp_path):
    loss = AdversarialContrast(IMAGES, Same(), variant=variant, steps=1)
    history = fit(model, loss, 12, Recipe(steps=12, batch=12, rate=3e-3), folder=tmp_path)
    assert history["loss"][-3:].mean() < history["loss"][:3].mean()
    assert set(history) == {"loss", "alignment", "uniformity"}


def test_labels_and_partners_change_the_loss(model):
    values = []
    for settings in ({}, {"labels": LABELS}, {"labels": LABELS, "partners": True}):
        loss = AdversarialContrast(IMAGES, Same(), variant="clean", **settings)
        values.append(loss(copy.deepcopy(model), torch.tensor([0, 3, 6, 10, 7, 8, 1, 9]), generator())["loss"].item())
    assert len(set(values)) == 3


def test_bad_input():
    with pytest.raises(WorkbookError, match="variant is one of single, dual, clean"):
        AdversarialContrast(IMAGES, Same(), variant="triple")
    with pytest.raises(WorkbookError, match="one per image"):
        AdversarialContrast(IMAGES, Same(), LABELS[:5])
    with pytest.raises(WorkbookError, match="give labels"):
        AdversarialContrast(IMAGES, Same(), partners=True)
    with pytest.raises(WorkbookError, match="one label per picture"):
        supervised_contrastive(rows(), LABELS.repeat(2), 0.5)
    with pytest.raises(WorkbookError, match="without labels"):
        InstanceContrast(IMAGES, Same(), LABELS)
    with pytest.raises(WorkbookError, match="are not 3 views"):
        several_views(rows(5), 3, 0.5)


def test_alignment_and_uniformity_are_the_written_out_means():
    one, two = (F.normalize(torch.randn(7, 4, generator=torch.Generator().manual_seed(seed)), dim=1) for seed in (0, 1))
    wanted = sum(float((a - b) @ (a - b)) for a, b in zip(one, two, strict=True)) / 7
    assert alignment(one, two).item() == pytest.approx(wanted, rel=1e-5)
    terms = [math.exp(-2 * float((one[i] - one[k]) @ (one[i] - one[k]))) for i in range(7) for k in range(i)]
    assert uniformity(one).item() == pytest.approx(math.log(sum(terms) / len(terms)), rel=1e-5)
    assert alignment(one, one) == 0
    assert uniformity(one[:1].expand(5, -1)) == 0
    assert uniformity(torch.tensor([[1.0, 0], [-1, 0]])).item() == pytest.approx(-8)  # distance 2


def test_two_views_of_several_are_nt_xent_and_three_are_the_double_loop():
    torch.testing.assert_close(several_views(rows(), 2, 0.5), nt_xent_rows(rows(), 0.5).mean())
    three, losses = F.normalize(torch.randn(12, 5, generator=generator()), dim=1), []
    for i in range(12):
        every = sum(torch.exp(three[i] @ three[k] / 0.5) for k in range(12) if k != i)
        losses += [
            -torch.log(torch.exp(three[i] @ three[k] / 0.5) / every) for k in range(12) if k % 4 == i % 4 and k != i
        ]
    torch.testing.assert_close(several_views(three, 3, 0.5), sum(losses) / len(losses))


def test_rocl_attacks_the_first_view_against_the_second_and_pulls_all_three_together(model):
    other = copy.deepcopy(model)
    loss = InstanceContrast(IMAGES, FACES, steps=2)
    found, draw = loss(model, EVERY, generator(5))["loss"], generator(5)
    first, second = (FACES(IMAGES.float() / 255, draw) for _ in range(2))
    moved = loss.attack(other, first, draw, other=second)
    assert 0 < (moved - first).abs().max() <= 8 / 255 + 1e-6
    embedded = other.embed(torch.cat([first, second, moved]))
    near = nt_xent_rows(torch.cat([embedded[24:], embedded[12:24]]), 0.5).mean()
    torch.testing.assert_close(found, several_views(embedded, 3, 0.5) + near / 256)
