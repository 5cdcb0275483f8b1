import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA
from torch import nn

from lib.defences import Basis, Defended, PCAProjection, fit_pca
from lib.errors import WorkbookError
from lib.models import from_module


@pytest.fixture(scope="module")
def faces():
    draw = torch.Generator().manual_seed(0)
    return torch.rand(40, 1, 6, 5, generator=draw) * torch.linspace(0.1, 1, 30).view(1, 1, 6, 5)


@pytest.fixture(scope="module")
def basis(faces):
    return Basis(**fit_pca(faces, 12))


def test_agrees_with_scikit_learn(faces, basis):
    reference = PCA(12, svd_solver="full").fit(faces.flatten(1).double().numpy())
    assert torch.allclose(basis.eigenvalues.double(), torch.from_numpy(reference.explained_variance_), rtol=1e-5)
    overlap = basis.vectors.T.double() @ torch.from_numpy(reference.components_).T
    assert torch.allclose(overlap.abs(), torch.eye(12, dtype=torch.float64), atol=1e-5)


def test_orthonormal_even_with_a_steep_spectrum():
    draw = torch.Generator().manual_seed(1)
    steep = torch.randn(200, 300, generator=draw, dtype=torch.float64) * torch.logspace(0, -4, 300, dtype=torch.float64)
    basis = Basis(**fit_pca((0.5 + 0.1 * steep).view(200, 1, 15, 20), 150))
    assert basis.deviation() < 1e-5


def test_signs_are_a_convention(basis):
    largest = basis.vectors.gather(0, basis.vectors.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_projection_is_a_projection(k, seed):
    draw = torch.Generator().manual_seed(0)
    fitted = Basis(**fit_pca(torch.rand(40, 1, 6, 5, generator=draw), 12))
    project = PCAProjection(fitted, k)
    x = torch.rand(3, 1, 6, 5, generator=torch.Generator().manual_seed(seed))
    once = project(x)
    assert once.shape == x.shape
    assert torch.allclose(project(once), once, atol=1e-5)
    assert ((once - x).flatten(1) @ fitted.vectors[:, :k]).abs().max() < 1e-5  # the rest is orthogonal to the basis
    slow = sum((x.flatten(1) - fitted.mean) @ v[:, None] * v for v in fitted.vectors.T[:k]) + fitted.mean
    assert torch.allclose(once.flatten(1), slow, atol=1e-5)


def test_defended_is_the_composition(basis):
    inner = from_module(nn.Flatten(), size=(6, 5), mean=0.0, std=1.0, channels=1)
    project = PCAProjection(basis, 3)
    model = Defended(inner, project)
    x = torch.rand(2, 1, 6, 5)
    assert torch.allclose(model(x), project(x).flatten(1))
    assert not model.training
    assert "PCAProjection(k=3)" in model.name


def test_bad_requests(faces, basis):
    with pytest.raises(WorkbookError, match="at most 39 eigenvectors, not 40"):
        fit_pca(faces, 40)
    with pytest.raises(WorkbookError, match="fewer than 12 dimensions"):
        fit_pca(faces[:2].repeat(20, 1, 1, 1), 12)
    with pytest.raises(WorkbookError, match="ask for 1 to 12, not 13"):
        PCAProjection(basis, 13)
    with pytest.raises(WorkbookError, match="with 30 pixels, but 49 came"):
        PCAProjection(basis, 3)(torch.rand(1, 1, 7, 7))
