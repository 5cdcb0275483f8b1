"""The small recogniser keeps the interface of all recognisers."""

import pytest
import torch

from lib.errors import WorkbookError
from lib.models import quick
from lib.models.small import SmallRecogniser


@pytest.fixture
def model():
    torch.manual_seed(0)
    return SmallRecogniser().eval()


def test_embeddings_are_unit_vectors_of_64_numbers(model):
    x = torch.rand(3, 3, 112, 112)
    assert model(x).shape == (3, 64)
    torch.testing.assert_close(model.embed(x).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(model.embed(x), model(x) / model(x).norm(dim=1, keepdim=True))
    assert (model.size, model.channels, model.name) == ((112, 112), 3, "small")


def test_gradients_reach_the_pixels(model):
    x = torch.rand(2, 3, 112, 112, requires_grad=True)
    model.embed(x)[:, 0].sum().backward()
    assert (x.grad != 0).float().mean() > 0.9


def test_folding_its_batch_normalisation_changes_nothing(model):
    model.train()(torch.rand(8, 3, 112, 112))  # running statistics that are not the initial ones
    model.eval()
    x = torch.rand(2, 3, 112, 112)
    expected = model.embed(x).detach()
    torch.testing.assert_close(quick(model).embed(x), expected, atol=1e-4, rtol=1e-4)


def test_other_shapes_are_refused(model):
    with pytest.raises(WorkbookError, match="expects images of shape"):
        model(torch.rand(1, 1, 112, 112))
