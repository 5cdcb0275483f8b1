import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.attacks import intensity_of
from lib.data.procedural_faces.dataset import load_procedural
from lib.defences.hgd import Denoiser
from lib.errors import WorkbookError
from lib.models import GrayInput, embed_all, from_module, to_gray
from lib.models.small import SmallRecogniser
from lib.studies.pin.guided_denoiser import BEYOND, HighLevelGuidance, craft
from lib.training.loop import Recipe, fit
from tests.training.small import spread_recogniser


@pytest.fixture(scope="module")
def faces():
    return to_gray(load_procedural(people=6, per_person=2, seed=3).images())


@pytest.fixture(scope="module")
def recogniser(faces):
    return spread_recogniser(faces)


@pytest.fixture(scope="module")
def crafted(recogniser, faces):
    return craft(recogniser, faces, 0.04, seed=0, steps=(1, 3))


def test_crafted_faces_keep_the_budget(crafted, faces):
    assert crafted.dtype == torch.float16
    assert crafted.shape == faces.shape
    strength = intensity_of(faces, crafted.float())
    assert strength.max() <= BEYOND * 0.04 * 1.02
    assert strength.min() < 0.02  # many strengths
    assert strength.max() > 0.03


def test_crafted_faces_move_away_or_towards_another(recogniser, faces, crafted):
    clean, moved = embed_all(recogniser, faces), embed_all(recogniser, crafted.float())
    assert ((clean * moved).sum(1) < 1 - 1e-5).all()


def test_the_same_seed_makes_the_same_faces(recogniser, faces, crafted):
    assert torch.equal(craft(recogniser, faces, 0.04, seed=0, steps=(1, 3)), crafted)
    assert not torch.equal(craft(recogniser, faces, 0.04, seed=1, steps=(1, 3)), crafted)


def test_the_loss_against_the_formula():
    recogniser = from_module(nn.Flatten(), size=(1, 2), mean=0.0, std=1.0, channels=1)
    images = torch.tensor([[3.0, 4.0], [0.0, 1.0], [1.0, 0.0]]).view(3, 1, 1, 2)
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    loss = HighLevelGuidance(images.half(), features, recogniser)
    model = nn.Conv2d(1, 1, 1)  # doubles its images, which unit embeddings do not see
    nn.init.constant_(model.weight, 2.0)
    nn.init.zeros_(model.bias)
    found = loss(model, torch.tensor([0, 2]), torch.Generator())["loss"]
    torch.testing.assert_close(found, torch.tensor(((0.4 + 0.8) + (1 + 1)) / 2))
    assert loss.error(model) == pytest.approx((1.2 + 0 + 2) / 3)


def test_a_few_steps_lower_the_loss(recogniser, faces, crafted):
    weights = [weight.clone() for weight in recogniser.parameters()]
    loss = HighLevelGuidance(crafted, embed_all(recogniser, faces), recogniser)
    torch.manual_seed(0)
    history = fit(Denoiser(width=4), loss, len(faces), Recipe(steps=24, batch=12, rate=5e-3))["loss"]
    assert history[-4:].mean() < 0.8 * history[0]
    assert all(torch.equal(old, new) for old, new in zip(weights, recogniser.parameters(), strict=True))


def test_the_recogniser_needs_no_freezing():
    torch.manual_seed(1)
    recogniser = GrayInput(SmallRecogniser(dim=8, width=4).train())
    images = torch.rand(4, 1, 112, 112)
    loss = HighLevelGuidance(images, F.normalize(torch.randn(4, 8), dim=1), recogniser)
    loss(Denoiser(width=1), torch.arange(4), torch.Generator())["loss"].backward()
    assert all(weight.grad is None and weight.requires_grad for weight in recogniser.parameters())
    assert all(part.training for part in recogniser.modules())


def test_bad_input(recogniser):
    with pytest.raises(WorkbookError, match="at least two are needed"):
        craft(recogniser, torch.rand(1, 1, 112, 112))
    with pytest.raises(WorkbookError, match="one of each per face"):
        HighLevelGuidance(torch.rand(3, 1, 8, 8), torch.rand(2, 4), recogniser)
