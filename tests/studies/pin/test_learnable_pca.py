"""Masked projections against a loop over images with the selected columns, and what each surrogate lets through."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lib.defences import Basis, fit_pca
from lib.defences.pca import coefficients, rebuild
from lib.errors import WorkbookError
from lib.studies.pin.learnable_pca import SURROGATES, HardThreshold, LearnablePCA

N = 8


@pytest.fixture(scope="module")
def faces():
    return torch.rand(40, 1, 6, 5, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def basis(faces):
    return Basis(**fit_pca(faces, N))


class LinearAgent(nn.Module):
    """Logits that are linear in the pixels, by default with probabilities well between 0 and 1."""

    def __init__(self, scale=1.0, shift=0.0):
        super().__init__()
        self.weight = nn.Parameter(scale * torch.randn(30, N, generator=torch.Generator().manual_seed(1)))
        self.shift = shift

    def forward(self, x):
        return (x.flatten(1) - 0.5) @ self.weight + self.shift


def slowly(x, masks, basis):
    """Each image on the columns that its mask selects (PIN, eqs 1 and 2)."""
    images = []
    for image, mask in zip(x, masks, strict=True):
        chosen = basis.vectors[:, mask.bool()]
        images.append((chosen @ (chosen.T @ (image.flatten() - basis.mean)) + basis.mean).view_as(image))
    return torch.stack(images)


def masks_of(out, x, basis):
    """The masks (n, N) behind projections of x: the share of each coefficient that is left."""
    left, found = ((images.flatten(1) - basis.mean) @ basis.vectors for images in (out, x))
    return left / found


def pixel_gradient(output, x, direction):
    return torch.autograd.grad((output * direction).sum(), x, retain_graph=True)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_batched_masks_are_a_loop_over_images(seed, count):
    draw = torch.Generator().manual_seed(seed)
    fitted = Basis(**fit_pca(torch.rand(40, 1, 6, 5, generator=torch.Generator().manual_seed(0)), N))
    x, masks = torch.rand(count, 1, 6, 5, generator=draw), (torch.rand(count, N, generator=draw) > 0.5).float()
    found = rebuild(coefficients(x, fitted) * masks, fitted, x)
    assert found.shape == x.shape
    torch.testing.assert_close(found, slowly(x, masks, fitted), rtol=0, atol=1e-5)


def test_the_hard_threshold_keeps_large_coefficients(basis, faces):
    project, level = HardThreshold(basis, 0.3), 0.3
    masks = ((faces.flatten(1) - basis.mean) @ basis.vectors).abs() > level
    assert 0.1 < masks.float().mean() < 0.9
    torch.testing.assert_close(project(faces), slowly(faces, masks, basis), rtol=0, atol=1e-5)
    torch.testing.assert_close(HardThreshold(basis, 0.0)(faces), slowly(faces, torch.ones(40, N), basis))
    assert "HardThreshold(level=0.3)" in str(project)


def test_the_hard_threshold_s_gradient_takes_the_mask_as_given(basis, faces):
    x, direction = faces[:4].clone().requires_grad_(), torch.rand(4, 1, 6, 5)
    project = HardThreshold(basis, 0.3)
    masks = (coefficients(x, project).abs() > 0.3).detach()
    wanted = pixel_gradient(slowly(x, masks, basis), x, direction)
    torch.testing.assert_close(pixel_gradient(project(x), x, direction), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_without_gradients_the_mask_is_drawn(surrogate, basis, faces):
    agent = LinearAgent()
    model, x = LearnablePCA(basis, agent, surrogate), faces[:1].expand(3000, -1, -1, -1)
    torch.manual_seed(0)
    with torch.no_grad():
        masks, p = masks_of(model(x), x, basis), agent(faces[:1]).sigmoid()[0]
    torch.testing.assert_close(masks, masks.round(), rtol=0, atol=2e-3)
    assert set(masks.round().unique().abs().tolist()) == {0, 1}
    assert ((masks.mean(0) - p).abs() < 4 * (p * (1 - p) / 3000).sqrt() + 1e-3).all()
    assert torch.corrcoef(masks.T).fill_diagonal_(0).abs().max() < 0.1  # independent Bernoullis


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_global_seed_decides(surrogate, grad, basis, faces):
    model, outs = LearnablePCA(basis, LinearAgent(), surrogate), []
    with torch.set_grad_enabled(grad):
        for seed in (0, 0, 1):
            torch.manual_seed(seed)
            outs.append(model(faces))
    assert torch.equal(outs[0], outs[1])
    assert torch.equal(outs[0], outs[2]) == (grad and surrogate == "mean")


def test_mean_puts_the_probability_in_the_mask_s_place(basis, faces):
    agent, x, direction = LinearAgent(), faces[:4].clone().requires_grad_(), torch.rand(4, 1, 6, 5)
    model = LearnablePCA(basis, agent, "mean")
    slow = (coefficients(x, model) * agent(x).sigmoid()) @ basis.vectors.T + basis.mean
    torch.testing.assert_close(model(x), slow.view_as(x))
    wanted = torch.autograd.grad((slow.view_as(x) * direction).sum(), [x, agent.weight])
    found = torch.autograd.grad((model(x) * direction).sum(), [x, agent.weight])
    torch.testing.assert_close(found, wanted)
    assert found[1].abs().sum() > 0


def test_straight_through_draws_forward_and_takes_the_probability_backward(basis, faces):
    agent, x, direction = LinearAgent(), faces[:4].clone().requires_grad_(), torch.rand(4, 1, 6, 5)
    model = LearnablePCA(basis, agent, "straight-through")
    torch.manual_seed(0)
    out = model(x)
    masks = masks_of(out, x, basis).round().detach()
    torch.testing.assert_close(out, slowly(x, masks, basis), rtol=0, atol=1e-5)
    p = agent(x).sigmoid()
    slow = ((coefficients(x, model) * (masks + p - p.detach())) @ basis.vectors.T + basis.mean).view_as(x)
    wanted = torch.autograd.grad((slow * direction).sum(), [x, agent.weight])
    found = torch.autograd.grad((out * direction).sum(), [x, agent.weight])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert found[1].abs().sum() > 0


def test_bpda_draws_forward_and_thresholds_backward(basis, faces):
    agent, x, direction = LinearAgent(), faces[:4].clone().requires_grad_(), torch.rand(4, 1, 6, 5)
    model = LearnablePCA(basis, agent, "bpda")
    torch.manual_seed(0)
    out = model(x)
    drawn, thresholded = masks_of(out, x, basis).round().detach(), agent(x).sigmoid().detach() > 0.5
    assert not torch.equal(drawn.bool(), thresholded)
    torch.testing.assert_close(out, slowly(x, drawn, basis), rtol=0, atol=1e-5)
    wanted = pixel_gradient(slowly(x, thresholded, basis), x, direction)
    torch.testing.assert_close(pixel_gradient(out, x, direction), wanted, rtol=1e-4, atol=1e-5)
    assert torch.autograd.grad(out.sum(), agent.weight, allow_unused=True)[0] is None  # the agent is left out


def test_concrete_is_a_bernoulli_smoothed_by_its_temperature(basis):
    model = LearnablePCA(basis, LinearAgent(), "concrete", temperature=0.5)
    logits = torch.tensor([-2.0, 0.0, 1.5]).expand(4000, 3)
    torch.manual_seed(0)
    relaxed = model.relaxed(logits)
    assert relaxed.min() >= 0
    assert relaxed.max() <= 1
    above = (relaxed > 0.5).float().mean(0)  # whatever the temperature: the Bernoulli's own probability
    assert (above - logits[0].sigmoid()).abs().max() < 4 * 0.5 / 4000**0.5
    torch.manual_seed(0)
    u = torch.rand(4000, 3)
    torch.testing.assert_close(relaxed, ((logits + u.log() - (1 - u).log()) / 0.5).sigmoid(), rtol=1e-3, atol=1e-4)
    model.temperature = 1e-4
    cold = model.relaxed(logits)
    assert ((cold < 0.01) | (cold > 0.99)).float().mean() > 0.99


def test_concrete_s_gradient_reaches_pixels_and_agent(basis, faces):
    agent, x, direction = LinearAgent(), faces[:4].clone().requires_grad_(), torch.rand(4, 1, 6, 5)
    model = LearnablePCA(basis, agent, "concrete").double()
    wide = x.detach().double().requires_grad_()

    def value(images):
        torch.manual_seed(0)
        return (model(images) * direction).sum()

    gradient, of_agent = torch.autograd.grad(value(wide), [wide, agent.weight])
    step = torch.randn(4, 1, 6, 5, generator=torch.Generator().manual_seed(3)).double()
    slope = (value(wide + 1e-5 * step) - value(wide - 1e-5 * step)).item() / 2e-5
    assert (gradient * step).sum().item() == pytest.approx(slope, rel=1e-5)
    assert of_agent.abs().sum() > 0


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_sure_agent_needs_no_surrogate(surrogate, basis, faces):
    """Where every probability is 1, all four are the plain projection."""
    model, whole = LearnablePCA(basis, LinearAgent(0.0, 50.0), surrogate), slowly(faces, torch.ones(40, N), basis)
    torch.testing.assert_close(model(faces), whole, rtol=0, atol=1e-5)


def test_shown_with_what_a_kept_result_depends_on(basis):
    text = str(LearnablePCA(basis, LinearAgent(), "bpda", 0.7))
    assert "surrogate=bpda" in text
    assert "temperature=0.7" in text


def test_bad_requests(basis):
    with pytest.raises(WorkbookError, match="surrogate is one of .* not 'gumbel'"):
        LearnablePCA(basis, LinearAgent(), "gumbel")
    with pytest.raises(WorkbookError, match="temperature is above 0, but 0 came"):
        LearnablePCA(basis, LinearAgent(), temperature=0)
    with pytest.raises(WorkbookError, match="with 30 pixels, but 49 came"):
        HardThreshold(basis, 0.1)(torch.rand(1, 1, 7, 7))
