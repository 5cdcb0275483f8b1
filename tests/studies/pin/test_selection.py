"""The reward in coefficient space against dense images, the oracle against all masks, REINFORCE against the truth."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.defences import Basis
from lib.defences.pca import coefficients
from lib.errors import WorkbookError
from lib.studies.pin.selection import (
    GRADIENT_BASELINES,
    NORMS,
    advantages,
    exact_gradient,
    oracle_mask,
    policy_gradient,
    residual,
    reward,
    weights_of,
)


def normal(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def random_basis(seed, pixels, components):
    vectors = torch.linalg.qr(normal(seed, pixels, components)).Q
    return Basis(vectors, normal(seed + 1, pixels), torch.ones(components, dtype=torch.float64))


def dense_reward(mask, noisy, clean, basis, penalty, norm):
    """PIN's eq. 3 for one image (1, H, W), with the selected columns in a matrix of their own."""
    chosen = basis.vectors[:, mask.bool()]
    rest = chosen @ (chosen.T @ (noisy.flatten() - basis.mean)) - (clean.flatten() - basis.mean)
    size = {"l2": rest.norm(), "squared": rest.norm() ** 2, "mean": rest.square().mean()}[norm]
    return -size - penalty * mask.sum()


def all_masks(components):
    return torch.tensor(list(product((0.0, 1.0), repeat=components)), dtype=torch.float64)


def chances(masks, logits):
    """P (2^N, b) of masks (2^N, N) under logits (b, N)."""
    p = logits.sigmoid()
    return torch.where(masks[:, None].bool(), p, 1 - p).prod(-1)


def problem(seed, images, components):
    """Weights (b, N) and energy (b,) with a positive residual for every mask, logits (b, N)."""
    noisy, clean = normal(seed, images, components), normal(seed + 1, images, components)
    energy = clean.square().sum(1) + normal(seed + 2, images).abs()
    return weights_of(noisy, clean), energy, 1.5 * normal(seed + 3, images, components)


seeds = st.integers(0, 10_000)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 20), st.sampled_from(NORMS), st.floats(0, 2), st.floats(0.01, 2))
def test_the_reward_is_the_dense_formula(seed, components, norm, penalty, strength):
    basis = random_basis(seed, 20, components)
    clean = normal(seed + 2, 3, 1, 4, 5)
    noisy = clean + strength * normal(seed + 3, 3, 1, 4, 5)
    masks = (normal(seed + 4, 6, 3, components) > 0).double()
    weights = weights_of(coefficients(noisy, basis), coefficients(clean, basis))
    energy = (clean.flatten(1) - basis.mean).square().sum(1)
    found = reward(masks, weights, energy, penalty, norm, pixels=20)
    assert found.shape == (6, 3)
    for draw, image in product(range(6), range(3)):
        slow = dense_reward(masks[draw, image], noisy[image], clean[image], basis, penalty, norm)
        assert found[draw, image].item() == pytest.approx(slow.item(), rel=1e-10)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(1, 8), st.sampled_from(NORMS), st.sampled_from([0.0, 0.015, 0.3, 100.0]))
def test_the_oracle_is_the_best_of_all_masks(seed, components, norm, penalty):
    weights, energy, _ = problem(seed, 3, components)
    every = all_masks(components)[:, None].expand(-1, 3, -1)
    best = reward(every, weights, energy, penalty, norm, 7).amax(0)
    mask = oracle_mask(weights, energy, penalty, norm, 7)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    torch.testing.assert_close(reward(mask, weights, energy, penalty, norm, 7), best, rtol=1e-12, atol=1e-12)


def test_the_oracle_keeps_what_pays():
    weights, energy = torch.tensor([[-3.0, 1.0, -1.0], [2.0, 1.0, 3.0]]), torch.tensor([9.0, 9.0])
    assert oracle_mask(weights, energy, 0.0).tolist() == [[1, 0, 1], [0, 0, 0]]
    assert oracle_mask(weights, energy, 2.0, "squared").tolist() == [[1, 0, 0], [0, 0, 0]]
    assert oracle_mask(weights, energy, 0.0).dtype == weights.dtype


@settings(max_examples=20, deadline=None)
@given(seeds, st.integers(1, 6))
def test_the_exact_gradient_is_that_of_the_expectation(seed, components):
    weights, energy, logits = problem(seed, 2, components)
    masks, leaf = all_masks(components), logits.clone().requires_grad_()
    rewards = reward(masks[:, None].expand(-1, 2, -1), weights, energy, 0.2, "squared")
    closed = -(leaf.sigmoid() * (weights + 0.2)).sum(1) - energy
    enumerated = (chances(masks, leaf) * rewards).sum(0)
    torch.testing.assert_close(closed, enumerated)
    for expectation in (closed, enumerated):
        (gradient,) = torch.autograd.grad(expectation.sum(), leaf, retain_graph=True)
        torch.testing.assert_close(gradient, exact_gradient(weights, logits, 0.2))


def expected_estimate(baseline, draws, weights, energy, logits, norm="squared"):
    """E of `policy_gradient` for one image over every tuple of `draws` masks, each weighted by its chance."""
    masks = all_masks(weights.shape[1])
    p = chances(masks, logits)[:, 0]
    total = torch.zeros_like(logits)
    for chosen in product(range(len(masks)), repeat=draws):
        drawn = masks[list(chosen)][:, None]
        rewards = reward(drawn, weights, energy, 0.2, norm)
        total += p[list(chosen)].prod() * policy_gradient(drawn, rewards, logits, baseline)
    return total


@pytest.mark.parametrize("components", [1, 3, 6])
def test_without_a_baseline_the_estimate_is_unbiased(components):
    weights, energy, logits = problem(components, 1, components)
    found = expected_estimate("none", 1, weights, energy, logits)
    torch.testing.assert_close(found, exact_gradient(weights, logits, 0.2), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("baseline", "draws", "share"),
    [("leave-one-out", 2, 1.0), ("leave-one-out", 3, 1.0), ("image", 2, 1 / 2), ("image", 3, 2 / 3), ("none", 2, 1.0)],
)
def test_the_share_of_the_gradient_that_each_baseline_leaves(baseline, draws, share):
    weights, energy, logits = problem(0, 1, 3)
    found = expected_estimate(baseline, draws, weights, energy, logits)
    torch.testing.assert_close(found, share * exact_gradient(weights, logits, 0.2), rtol=1e-9, atol=1e-9)


def test_unbiased_for_the_l2_reward_too():
    weights, energy, logits = problem(4, 1, 3)
    leaf, masks = logits.clone().requires_grad_(), all_masks(3)
    expectation = (chances(masks, leaf) * reward(masks[:, None], weights, energy, 0.2)).sum()
    (truth,) = torch.autograd.grad(expectation, leaf)
    torch.testing.assert_close(expected_estimate("leave-one-out", 2, weights, energy, logits, "l2"), truth)


def test_a_batch_of_one_image_has_the_image_s_baseline():
    """With b images the minibatch's mean (PIN, eq. 10) shrinks the gradient by (k b - 1) / (k b)."""
    weights, energy, logits = problem(0, 1, 3)
    found = expected_estimate("batch", 2, weights, energy, logits)
    torch.testing.assert_close(found, exact_gradient(weights, logits, 0.2) / 2, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_that_of_log_p():
    _, _, logits = problem(1, 2, 5)
    masks, rewards = (normal(7, 4, 2, 5) > 0).double(), normal(8, 4, 2)
    leaf = logits.clone().requires_grad_()
    log_p = -torch.nn.functional.binary_cross_entropy_with_logits(leaf.expand(4, 2, 5), masks, reduction="none").sum(-1)
    (slow,) = torch.autograd.grad((rewards * log_p).sum() / 4, leaf)
    torch.testing.assert_close(policy_gradient(masks, rewards, logits, "none"), slow)


def test_the_advantages_by_hand():
    rewards = torch.tensor([[1.0, 10.0], [2.0, 30.0], [6.0, 50.0]])
    assert torch.equal(advantages(rewards, "none"), rewards)
    assert torch.allclose(advantages(rewards, "batch"), rewards - 16.5)
    assert advantages(rewards, "image").tolist() == [[-2, -20], [-1, 0], [3, 20]]
    others = torch.tensor([[4.0, 40.0], [3.5, 30.0], [1.5, 20.0]])
    assert torch.allclose(advantages(rewards, "leave-one-out"), rewards - others)


@pytest.mark.parametrize("norm", ["l2", "squared"])
def test_an_image_s_own_baseline_has_the_least_variance(norm):
    """Faces differ in energy: the minibatch's mean helps, an image's own helps more (measured: facts of PIN)."""
    noisy = 0.05 * normal(0, 8, 60)
    clean = normal(1, 8, 60) * torch.linspace(1, 0.05, 60)
    energy = clean.square().sum(1) + torch.linspace(1, 60, 8)
    weights, logits = weights_of(clean + noisy, clean), torch.zeros(8, 60, dtype=torch.float64)
    draw = torch.Generator().manual_seed(2)
    estimates = {name: [] for name in GRADIENT_BASELINES}
    for _ in range(150):
        masks = torch.bernoulli(logits.sigmoid().expand(10, 8, 60), generator=draw)
        rewards = reward(masks, weights, energy, 0.015, norm)
        for name, found in estimates.items():
            found.append(policy_gradient(masks, rewards, logits, name))
    variance = {name: torch.stack(found).var(0).mean().item() for name, found in estimates.items()}
    assert variance["none"] > 2 * variance["batch"] > 4 * variance["leave-one-out"]
    assert variance["image"] / variance["leave-one-out"] == pytest.approx(0.81, rel=1e-6)  # (1 - 1/k) squared


def test_rounding_below_zero_is_no_nan():
    assert residual(torch.tensor([-1e-7, 4.0]), "l2").tolist() == [0, 2]


def test_bad_requests():
    basis = random_basis(0, 6, 2)
    with pytest.raises(WorkbookError, match="with 6 pixels, but 9 came"):
        coefficients(torch.rand(2, 1, 3, 3), basis)
    with pytest.raises(WorkbookError, match="norm is one of .* not 'l1'"):
        reward(torch.ones(1, 2), torch.ones(1, 2), torch.ones(1), 0.1, "l1")
    with pytest.raises(WorkbookError, match="baseline is one of .* not 'mean'"):
        advantages(torch.ones(3, 2), "mean")
    with pytest.raises(WorkbookError, match="at least two masks"):
        advantages(torch.ones(1, 2), "leave-one-out")
