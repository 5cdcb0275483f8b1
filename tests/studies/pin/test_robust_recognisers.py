import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.attacks import intensity_of
from lib.data.procedural_faces.dataset import load_procedural
from lib.errors import WorkbookError
from lib.losses.margins import class_means
from lib.models import embed_all, from_module, to_gray
from lib.studies.pin.robust_recognisers import AdversarialClassification, TripletEmbedding, inner_attack, others
from lib.training.loop import Recipe, fit
from lib.training.small_recogniser import cosine_margin_loss
from tests.training.small import spread_recogniser


@pytest.fixture(scope="module")
def faces():
    people = load_procedural(people=6, per_person=2, seed=4)
    return to_gray(people.images()), people.labels


@pytest.fixture(scope="module")
def start(faces):
    return spread_recogniser(faces[0])


@pytest.fixture
def model(start):
    return copy.deepcopy(start).requires_grad_(True)


@pytest.fixture(scope="module")
def prototypes(start, faces):
    return class_means(embed_all(start, faces[0]), faces[1])


class Plane(nn.Module):
    """A one-pixel, two-channel image is its own raw embedding, scaled by a weight that learns."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return self.gain * x.flatten(1)


def plane():
    return from_module(Plane(), size=(1, 1), mean=0.0, std=1.0, channels=2).requires_grad_(True)


def pixels(*rows):
    return torch.tensor(rows).view(-1, 2, 1, 1)


def test_class_means_by_hand():
    embeddings = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    expected = F.normalize(torch.tensor([[0.0, 1.0], [1.0, 2.0]]), dim=1)
    torch.testing.assert_close(class_means(embeddings, torch.tensor([1, 1, 0])), expected)


def test_others_are_other_people_and_all_of_them_come():
    labels, generator = torch.tensor([0, 0, 1, 2]), torch.Generator().manual_seed(0)
    drawn = torch.stack([others(labels, generator) for _ in range(60)])
    assert (labels[drawn] != labels).all()
    assert set(drawn[:, 0].tolist()) == {2, 3}
    with pytest.raises(WorkbookError, match="at least two people"):
        others(torch.zeros(3), generator)


def test_any_number_of_steps_goes_as_far_as_the_sources():
    for steps in (1, 3, 30):
        size = inner_attack(steps, "clean").step_size(torch.zeros(1, 1, 1, 1), torch.tensor(16.0).view(1, 1, 1, 1))
        assert steps * size.item() == pytest.approx(30)
    with pytest.raises(WorkbookError, match="at least one step"):
        inner_attack(0, "clean")


def test_without_a_budget_it_is_the_margin_loss():
    images, labels = pixels([0.6, 0.8], [0.9, 0.1]), torch.tensor([0, 1])
    loss = AdversarialClassification(images, labels, torch.eye(2), intensity=0.0, steps=2, scale=4.0, margin=0.1)
    found = loss(plane(), torch.tensor([1, 0]), torch.Generator().manual_seed(0))
    expected = cosine_margin_loss(images.flatten(1), torch.eye(2), labels, 4.0, 0.1)
    torch.testing.assert_close(found["loss"], expected)
    assert found["accuracy"] == 0


@pytest.mark.parametrize("targeted", [True, False])
def test_the_attack_is_worse_than_clean_for_the_start_model(model, faces, prototypes, targeted):
    loss = AdversarialClassification(*faces, prototypes, steps=3, targeted=targeted)
    every = torch.arange(12)
    attacked = loss(model, every, torch.Generator().manual_seed(0))["loss"]
    half = AdversarialClassification(*faces, prototypes, steps=3, targeted=targeted, clean=0.5)
    clean = AdversarialClassification(*faces, prototypes, clean=1.0)
    values = [part(model, every, torch.Generator().manual_seed(0))["loss"] for part in (half, clean)]
    assert attacked > values[0] > values[1]
    torch.testing.assert_close(values[1], cosine_margin_loss(model(faces[0]), prototypes, faces[1], 64.0, 0.35))


def test_the_triplet_term_by_hand():
    """Two people, each the other's target; without a budget x' = x, so the hinge is margin - D(f(x), f(t))."""
    images, labels = pixels([1.0, 0.0], [0.6, 0.8]), torch.tensor([0, 1])
    apart = ((1 - 0.6) ** 2 + 0.8**2) ** 0.5
    for distance, gap in (("l2", apart), ("squared", apart**2)):
        loss = TripletEmbedding(images, labels, torch.eye(2), 0.0, margin=2.0, weight=3.0, steps=1, distance=distance)
        found = loss(plane(), torch.arange(2), torch.Generator().manual_seed(0))
        torch.testing.assert_close(found["triplet"], torch.tensor(2.0 - gap))
        torch.testing.assert_close(found["loss"], found["classification"] + 3 * found["triplet"])
    satisfied = TripletEmbedding(images, labels, torch.eye(2), 0.0, margin=0.5, steps=1)
    assert satisfied(plane(), torch.arange(2), torch.Generator())["triplet"] == 0


def test_the_triplet_attack_comes_nearer_within_the_budget(model, faces, prototypes):
    images = faces[0][[0, 2, 4]]
    target = embed_all(model, faces[0][[2, 4, 6]])
    moved = TripletEmbedding(*faces, prototypes, steps=3).attack(model, images, target)
    assert (intensity_of(images, moved) <= 0.04 + 1e-5).all()
    before, after = ((embed_all(model, x) * target).sum(1) for x in (images, moved))
    assert (after > before).all()


def test_the_triplet_gradient_is_that_of_the_written_out_formula(model, faces, prototypes):
    loss, index = TripletEmbedding(*faces, prototypes, steps=2, margin=1.0), torch.tensor([0, 2, 4])
    loss(model, index, torch.Generator().manual_seed(5))["loss"].backward()
    fast = [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
    model.zero_grad()
    images, target = faces[0][index], others(faces[1][index], torch.Generator().manual_seed(5))
    moved = loss.attack(model, images, model.embed(images).detach()[target])
    source, found = model.embed(images), model.embed(moved)
    gaps = [1.0 + (f - s).norm() - (f - source[t]).norm() for f, s, t in zip(found, source, target, strict=True)]
    slow = sum(gap.clamp(min=0) for gap in gaps) / 3
    (slow + cosine_margin_loss(model(images), prototypes, faces[1][index], 64.0, 0.35)).backward()
    for one, other in zip(fast, [w.grad for w in model.parameters() if w.grad is not None], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", [AdversarialClassification, TripletEmbedding])
def test_a_few_steps_lower_the_loss_and_the_statistics_stay(model, faces, prototypes, kind):
    settings = {"scale": 16.0, "margin": 0.2 if kind is AdversarialClassification else 0.5}
    loss = kind(*faces, prototypes, steps=1, **settings)
    before = {name: value.clone() for name, value in model.named_buffers()}
    history = fit(model, loss, 12, Recipe(steps=16, batch=12, rate=2e-3))["loss"]
    assert history[-3:].mean() < 0.9 * history[:3].mean()
    assert all(torch.equal(before[name], value) for name, value in model.named_buffers())
    assert all(weight.requires_grad for weight in model.parameters())


def test_bad_input(faces, prototypes):
    with pytest.raises(WorkbookError, match="one prototype per person"):
        AdversarialClassification(*faces, prototypes[:3])
    with pytest.raises(WorkbookError, match="one label per face"):
        TripletEmbedding(faces[0], faces[1][:5], prototypes)
    with pytest.raises(WorkbookError, match="distance is one of"):
        TripletEmbedding(*faces, prototypes, distance="taxi")
