"""Training PIN's agent on a handful of eigenvectors, where the ceiling is known."""

import pytest
import torch
from torch import nn

from lib.defences import Basis, fit_pca
from lib.studies.pin.networks import CoefficientAgent
from lib.studies.pin.reinforce import Selection, mean_reward, noisy_choices, oracle_reward
from lib.studies.pin.selection import NORMS, exact_gradient
from lib.training.loop import Recipe, fit

N, PENALTY = 8, 0.05


@pytest.fixture(scope="module")
def faces():
    """Gray images (64, 1, 8, 8) with a steep spectrum: some coefficients are worth keeping, some are not."""
    draw = torch.Generator().manual_seed(0)
    patterns = torch.linalg.qr(torch.randn(64, N, generator=draw)).Q
    sizes = torch.randn(64, N, generator=draw) * torch.logspace(0, -1.5, N)
    return (0.5 + 0.3 * sizes @ patterns.T + 0.002 * torch.randn(64, 64, generator=draw)).clamp(0, 1).view(64, 1, 8, 8)


@pytest.fixture(scope="module")
def basis(faces):
    return Basis(**fit_pca(faces, N))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class Constant(nn.Module):
    """The same logits for every image."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, x):
        return self.logits.expand(len(x), -1)


@pytest.mark.parametrize("norm", NORMS)
def test_choices_against_images_in_the_source_s_units(faces, basis, norm):
    """Every quantity formed densely, on images in [-1,1]."""
    found = noisy_choices(faces[:5], basis, 0.04, generator())
    masks = torch.bernoulli(torch.full((5, N), 0.5), generator=generator(1))
    noisy, clean, mean = (2 * part.double().flatten(1) - 1 for part in (found.noisy, faces[:5], basis.mean[None]))
    vectors, wanted = basis.vectors.double(), []
    for i in range(5):
        chosen = vectors[:, masks[i].bool()]
        rest = chosen @ (chosen.T @ (noisy[i] - mean[0])) - (clean[i] - mean[0])
        size = {"l2": rest.norm(), "squared": rest.norm() ** 2, "mean": rest.square().mean()}[norm]
        wanted.append(-size - PENALTY * masks[i].sum())
    agent = Constant(torch.zeros(N))
    agent.forward = lambda x: 200 * (masks - 0.5)  # draws exactly these masks
    rewards = mean_reward(agent, found, PENALTY, norm)
    torch.testing.assert_close(rewards.double(), torch.stack(wanted), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.energy.double(), (clean - mean).square().sum(1), rtol=1e-5, atol=1e-6)


def test_bytes_are_the_same_faces(faces, basis):
    stored = (255 * faces).round().to(torch.uint8)
    one, other = (noisy_choices(x, basis, 0.04, generator()) for x in (stored, stored.float() / 255))
    for name in ("noisy", "weights", "energy"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_mean_reward_against_the_closed_form(faces, basis):
    """The squared reward's expectation is -S - p . (w + penalty)."""
    found, agent = noisy_choices(faces, basis, 0.04, generator()), Constant(torch.linspace(-2, 2, N))
    truth = -found.energy - (found.weights + PENALTY) @ agent.logits.detach().sigmoid()
    estimate = mean_reward(agent, found, PENALTY, "squared", draws=2000)
    torch.testing.assert_close(estimate.mean(), truth.mean(), rtol=0.02, atol=0)
    assert torch.corrcoef(torch.stack([estimate, truth]))[0, 1] > 0.99
    assert torch.equal(estimate, mean_reward(agent, found, PENALTY, "squared", draws=2000))
    assert estimate.shape == (64,)


@pytest.mark.parametrize("norm", NORMS)
def test_nobody_beats_the_oracle(faces, basis, norm):
    found = noisy_choices(faces, basis, 0.04, generator())
    ceiling = oracle_reward(found, PENALTY, norm)
    for seed in range(20):
        agent = Constant(4 * torch.randn(N, generator=generator(seed)))
        assert (mean_reward(agent, found, PENALTY, norm) <= ceiling + 1e-5).all()


@pytest.mark.parametrize("baseline", ["none", "batch", "image", "leave-one-out"])
def test_the_loss_s_gradient_ascends_the_reward(faces, basis, baseline):
    """Averaged over many draws it is minus the mean exact gradient, less what the baseline takes off."""
    loss, agent = Selection(faces, basis, PENALTY, "squared", baseline, draws=4000), Constant(torch.linspace(-1, 1, N))
    index = torch.arange(10)
    torch.manual_seed(1)
    metrics = loss(agent, index, generator())
    metrics["loss"].backward()
    found = noisy_choices(faces[index], basis, 0.04, generator())
    truth = exact_gradient(found.weights, agent.logits.detach().expand(10, -1), PENALTY).mean(0)
    torch.testing.assert_close(-agent.logits.grad, truth, rtol=0.05, atol=0.05 * truth.abs().max().item())
    assert metrics["size"].item() == pytest.approx(N / 2, abs=0.1)
    closed = -found.energy - (found.weights + PENALTY) @ agent.logits.detach().sigmoid()
    assert metrics["reward"].item() == pytest.approx(closed.mean().item(), rel=0.02)


@pytest.mark.parametrize("norm", NORMS)
def test_the_loss_reports_the_reward_of_its_norm(faces, basis, norm):
    agent = Constant(torch.full((N,), 50.0))  # keeps all: nothing is left to chance
    metrics = Selection(faces, basis, PENALTY, norm)(agent, torch.arange(6), generator())
    found = noisy_choices(faces[:6], basis, 0.04, generator())
    assert metrics["reward"].item() == pytest.approx(mean_reward(agent, found, PENALTY, norm).mean().item(), rel=1e-5)
    assert metrics["size"].item() == N


def test_the_pull_adds_the_gradient_of_the_squared_logits(faces, basis):
    gradients = []
    for pull in (0.0, 0.3):
        agent = Constant(torch.linspace(-1, 1, N))
        torch.manual_seed(0)
        Selection(faces, basis, PENALTY, pull=pull)(agent, torch.arange(4), generator())["loss"].backward()
        gradients.append(agent.logits.grad)
    torch.testing.assert_close(gradients[1] - gradients[0], 2 * 0.3 * torch.linspace(-1, 1, N), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("baseline", ["batch", "leave-one-out"])
def test_training_climbs_to_the_oracle(baseline, tmp_path):
    """Each face holds a subset of its own of eight patterns: the agent has to learn to see which."""
    held = torch.rand(64, N, generator=generator()) > 0.5
    vectors = torch.linalg.qr(torch.randn(64, N, generator=generator(1))).Q
    basis = Basis(vectors, torch.full((64,), 0.5), torch.ones(N))
    images = (0.5 + 0.5 * held.float() @ vectors.T).view(64, 1, 8, 8)
    agent, recipe = CoefficientAgent(basis), Recipe(steps=60, batch=16, rate=0.05)
    found = noisy_choices(images, basis, 0.04, generator(7))
    ceiling, before = oracle_reward(found, PENALTY).mean(), mean_reward(agent, found, PENALTY, draws=50).mean()
    history = fit(agent, Selection(images, basis, PENALTY, "l2", baseline), 64, recipe, folder=tmp_path)
    after = mean_reward(agent, found, PENALTY, draws=50).mean()
    assert ceiling - after < 0.1 * (ceiling - before)
    assert history["reward"][-10:].mean() > history["reward"][:10].mean()
    assert history["size"][-10:].mean().item() == pytest.approx(held.float().sum(1).mean().item(), abs=0.5)
    with torch.no_grad():
        assert ((agent(images) > 0) == held).float().mean() > 0.95
