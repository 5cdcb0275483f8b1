import copy

import pytest
import torch
from torch import nn

from lib.attacks import PGD, Linf, ascend
from lib.attacks.embeddings import instance, nt_xent
from lib.errors import WorkbookError
from lib.models import embed_all, quick
from lib.models.encoders import FaceEncoder, Projected, projector


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    model = FaceEncoder((24, 20), width=4, dim=6)
    model(torch.rand(8, 3, 24, 20))  # statistics of the batch normalisation
    return model.eval()


@pytest.fixture
def x():
    return torch.rand(4, 3, 24, 20, generator=torch.Generator().manual_seed(1))


def test_normalisation_is_inside_and_the_embedding_is_linear(encoder, x):
    trunk = encoder.trunk((x - 0.5) / 0.25)
    torch.testing.assert_close(encoder.representation(x), trunk)
    torch.testing.assert_close(encoder(x), trunk @ encoder.embedding.weight.T + encoder.embedding.bias)
    assert trunk.shape == (4, 32)
    torch.testing.assert_close(encoder.embed(x).norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("call", ["embed", "representation"])
def test_other_sizes_are_refused(encoder, call):
    with pytest.raises(WorkbookError, match=r"expects images of shape \(n, 3, 24, 20\)"):
        getattr(encoder, call)(torch.rand(2, 3, 20, 24))


def test_folding_its_batch_normalisation_changes_nothing(encoder, x):
    torch.testing.assert_close(quick(copy.deepcopy(encoder))(x), encoder(x).detach(), rtol=1e-4, atol=1e-4)


def test_the_projector_is_simclrs_formula(x):
    head = projector(5, 7, 3)
    inputs, first, second = torch.randn(4, 5), head[0], head[2]
    expected = (inputs @ first.weight.T + first.bias).clamp(min=0) @ second.weight.T + second.bias
    torch.testing.assert_close(head(inputs), expected)
    assert len(head) == 3


def test_a_normed_projector_ends_in_a_norm_and_has_no_bias():
    head = projector(5, 7, 3, layers=3, norm=nn.BatchNorm1d)
    kinds = [type(layer).__name__ for layer in head]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert [tuple(layer.weight.shape) for layer in head if isinstance(layer, nn.Linear)] == [(7, 5), (7, 7), (3, 7)]
    assert all(layer.bias is None for layer in head if isinstance(layer, nn.Linear))
    out = head(torch.randn(16, 5))
    torch.testing.assert_close(out.mean(0), torch.zeros(3), atol=1e-5, rtol=0)


def test_no_layers_are_refused():
    with pytest.raises(WorkbookError, match="layers of at least 1, but inputs=5, hidden=7, outputs=3, layers=0"):
        projector(5, 7, 3, layers=0)


def test_pre_training_trains_the_trunk_and_not_the_embedding(encoder, x):
    model = Projected(encoder, projector(32, 16, 8))
    torch.testing.assert_close(model(x), model.projector(encoder.representation(x)))
    torch.testing.assert_close(model.embed(x).norm(dim=1), torch.ones(4))
    model.train().embed(x)[:, 0].sum().backward()
    assert all(weight.grad is not None for weight in (*encoder.trunk.parameters(), *model.projector.parameters()))
    assert all(weight.grad is None for weight in encoder.embedding.parameters())


@pytest.mark.parametrize("objective", [nt_xent, instance])
def test_contrastive_attacks_work_on_it(encoder, x, objective):
    model = Projected(encoder, projector(32, 16, 8))
    goal = objective(model, x.flip(3))
    attacked = ascend(goal, x, Linf("8/255"), PGD.but(steps=3), generator=torch.Generator().manual_seed(0))
    assert (attacked - x).abs().max() <= 8 / 255 + 1e-6
    assert goal(attacked).sum() > goal(x).sum()
    assert embed_all(model, x).shape == (4, 8)
