import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.models import GrayInput, embed_all, from_module, similarity, to_gray
from lib.models.base import Recogniser, embed_any, evaluating
from lib.models.fuse import fold_batchnorm


class Tiny(Recogniser):
    def __init__(self):
        super().__init__("tiny", (8, 8), [0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())

    def features(self, x):
        return self.body(x)


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    model = Tiny()
    model(torch.rand(16, 3, 8, 8))  # statistics of the batch normalisation
    return model.eval()


@pytest.fixture
def images():
    return torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def test_normalisation_is_inside(tiny, images):
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    assert torch.allclose(tiny(images), tiny.body((images - mean) / std))


def test_embeddings_have_unit_length(tiny, images):
    assert torch.allclose(tiny.embed(images).norm(dim=1), torch.ones(5))
    assert torch.allclose(embed_all(tiny, images, batch=2), tiny.embed(images), atol=1e-6)


def test_similarity_is_the_cosine(tiny, images):
    expected = torch.cosine_similarity(tiny(images[:2]), tiny(images[2:4]))
    assert torch.allclose(similarity(tiny, images[:2], images[2:4]), expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (2, 1, 8, 8), (3, 8, 8)])
def test_wrong_shape_is_one_sentence(tiny, shape):
    with pytest.raises(WorkbookError, match=r"expects images of shape \(n, 3, 8, 8\)"):
        tiny(torch.rand(shape))


def test_evaluating_gives_every_flag_back(tiny):
    tiny.train()
    tiny.body[1].eval()
    before = [module.training for module in tiny.modules()]
    inside = []

    def fails():
        with evaluating(tiny):
            inside.extend(module.training for module in tiny.modules())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert not any(inside)
    assert [module.training for module in tiny.modules()] == before


def test_a_wrapper_starts_in_the_mode_of_what_it_wraps(tiny):
    assert not GrayInput(tiny).training
    assert GrayInput(tiny.train()).training


def test_embedding_many_leaves_a_wrapped_model_in_eval_mode(tiny, images):
    wrapped = GrayInput(tiny)
    first = embed_all(wrapped, to_gray(images))
    assert not tiny.training
    assert torch.equal(first, embed_all(wrapped, to_gray(images)))


def test_gray_input_repeats_the_channel(tiny, images):
    gray = to_gray(images)
    assert torch.equal(GrayInput(tiny)(gray), tiny(gray.repeat(1, 3, 1, 1)))


def test_luma_of_pure_colours():
    pure = torch.eye(3).view(3, 3, 1, 1)
    assert torch.allclose(to_gray(pure).flatten(), torch.tensor([0.299, 0.587, 0.114]))
    assert torch.equal(to_gray(pure[:, :1]), pure[:, :1])


def test_folding_keeps_the_function(tiny, images):
    before = tiny.embed(images)
    folded = fold_batchnorm(tiny)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert torch.allclose(folded.embed(images), before, atol=1e-6)


def test_any_module_becomes_a_recogniser(images):
    model = from_module(nn.Flatten(), size=(8, 8), mean=0.0, std=1.0)
    assert torch.allclose(model(images), images.flatten(1))
    assert next(model.parameters()).device.type == "cpu"


def test_a_module_without_embeddings_is_refused(images):
    with pytest.raises(WorkbookError, match="must return embeddings"):
        from_module(nn.Identity(), size=(8, 8))(images)


@pytest.mark.parametrize("value", [float("nan"), -0.1, 2.0, 255.0])
def test_images_out_of_range_are_refused_where_they_enter(value):
    model, images = Tiny().eval(), torch.rand(2, 3, 8, 8)
    images[1, 0, 5, 5] = value
    for enter in (lambda: embed_all(model, images), lambda: similarity(model, torch.rand(2, 3, 8, 8), images)):
        with pytest.raises(WorkbookError, match=r"expected in \[0,1\]"):
            enter()
    assert embed_any(model, images.nan_to_num(-0.1)).shape[0] == 2  # what a defence passes on
