"""The baselines' networks as they start, and the errors of a wrong name."""

import pytest
import torch

from lib.data.examples import ImagePairs, LabelledImages
from lib.errors import WorkbookError
from lib.models import GrayInput
from lib.models.small import SmallRecogniser
from lib.studies.pin.baseline_training import (
    PixelNetwork,
    robust_model,
    train_guided,
    train_magnet,
    train_pixels,
    train_robust,
)
from lib.studies.pin.systems import pca_counts
from lib.training.loop import Recipe

ONE = Recipe(1, batch=4, check_every=1)


@pytest.fixture(scope="module")
def recogniser():
    torch.manual_seed(0)
    return SmallRecogniser().eval().requires_grad_(False)


@pytest.mark.parametrize("kind", ["xie", "mter"])
def test_a_robust_recogniser_starts_as_the_one_it_copies(recogniser, kind):
    model, x = robust_model(kind, recogniser), torch.rand(2, 1, 112, 112)
    assert torch.allclose(model.eval().embed(x), GrayInput(recogniser).eval().embed(x), atol=1e-5)
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(weight.requires_grad for weight in recogniser.parameters())


def test_an_unknown_kind_is_refused(recogniser):
    with pytest.raises(WorkbookError, match="'xie' or 'mter'"):
        robust_model("trades", recogniser)


def test_every_training_gives_weights_and_history(recogniser):
    faces = torch.randint(0, 256, (8, 1, 112, 112), dtype=torch.uint8)
    pairs = ImagePairs(faces[:4].float() / 255, faces[4:].float() / 255, torch.arange(4) < 2)
    labelled = LabelledImages(faces, torch.arange(8))
    results = [
        train_magnet(faces, faces[:4], 2, ONE, "cpu"),
        train_pixels(faces, faces[:4], PixelNetwork(4, 1, 16), ONE, "cpu"),
        train_guided(faces, faces[:4], GrayInput(recogniser).eval(), 2, ONE, "cpu"),
        *[train_robust(kind, recogniser, labelled, pairs, 1, ONE) for kind in ("xie", "mter")],
    ]
    assert all(set(result) == {"weights", "history"} for result in results)
    assert all(len(result["history"]["loss"]) == 1 for result in results)


def test_a_small_basis_gets_the_same_shares_of_eigenvectors():
    assert pca_counts(2500) == (200, 2000)
    assert pca_counts(100) == (8, 80)
