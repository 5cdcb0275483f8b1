import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.defences.tvm import TotalVariation, divergence, gradient, minimise, objective
from lib.errors import WorkbookError


def problem(seed=0, count=3, side=10):
    draw = torch.Generator().manual_seed(seed)
    x = torch.rand(count, 1, side, side, generator=draw)
    return x, (torch.rand(x.shape, generator=draw) < 0.5).float()


def slow(x, mask, weight, steps=8000, smooth=1e-4):
    """Gradient descent on the objective with every norm smoothed near 0."""
    z = x.double().clone()
    x, mask = x.double(), mask.double()
    for step in range(steps):
        field = gradient(z)
        slope = 2 * mask * (z - x) - weight * divergence(field / (field.square().sum(0) + smooth**2).sqrt())
        z = z - 0.05 / (1 + step / 200) * slope
    return z


def test_objective_by_hand():
    z = torch.tensor([[[[0.0, 3.0], [4.0, 3.0]]]])
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    # squares: (0-1)^2 + (4-1)^2 + (3-1)^2; variation: sqrt(9+16) at the corner, 0 at the right, 1 at the bottom
    assert objective(z, torch.ones_like(z), mask, 0.5).item() == pytest.approx(1 + 9 + 4 + 0.5 * (5 + 0 + 1))


def test_divergence_is_the_negative_adjoint():
    z, field = torch.rand(2, 1, 6, 7), gradient(torch.rand(2, 1, 6, 7))
    assert torch.allclose((gradient(z) * field).sum(), -(z * divergence(field)).sum(), atol=1e-5)


def test_no_worse_than_plain_gradient_descent():
    x, mask = problem()
    fast, reference = minimise(x, mask, 0.1, 300), slow(x, mask, 0.1)
    ours, theirs = objective(fast, x, mask, 0.1), objective(reference.float(), x, mask, 0.1)
    assert (ours <= theirs * 1.0005).all()


def test_a_hundred_iterations_are_nearly_enough():
    x, mask = problem(1, side=32)
    few, many = (objective(minimise(x, mask, 0.03, steps), x, mask, 0.03) for steps in (100, 3000))
    assert (few <= many * 1.01).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 1))
def test_never_above_its_start_and_flat_when_flat(seed, weight):
    x, mask = problem(seed)
    flat = torch.full_like(x, 0.3)
    assert (objective(minimise(x, mask, weight, 100), x, mask, weight) <= objective(x, x, mask, weight) + 1e-4).all()
    assert torch.allclose(minimise(flat, mask, weight, 20), flat, atol=1e-5)


def test_dropped_pixels_are_not_seen():
    x, mask = problem()
    other = torch.where(mask > 0, x, torch.rand(x.shape, generator=torch.Generator().manual_seed(9)))
    assert torch.allclose(minimise(x, mask, 0.03, 10), minimise(other, mask, 0.03, 10))


def test_the_module_keeps_its_share_and_lets_gradients_through():
    x, defence = torch.rand(2, 1, 16, 16, requires_grad=True), TotalVariation(iterations=30)
    y = defence(x)
    y.square().sum().backward()
    assert y.shape == x.shape
    assert x.grad.isfinite().all()
    assert 0.35 < (x.grad != 0).float().mean() < 0.65  # the kept half
    assert torch.allclose(defence(x[1:]), y[1:])
    assert "weight=0.03, keep=0.5" in repr(defence)


def test_bad_requests():
    with pytest.raises(WorkbookError, match="keep in"):
        TotalVariation(keep=0.0)
