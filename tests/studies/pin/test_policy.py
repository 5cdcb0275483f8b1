"""How good a selection is: fixed masks, thresholds, entropy, overlap, the estimator's bias and variance."""

import itertools

import pytest
import torch

from lib.defences import Basis, fit_pca
from lib.studies.pin.policy import (
    best_threshold_level,
    beyond_pca,
    entropy_bits,
    estimator_study,
    fixed_mask,
    jaccard,
    oracle_project,
    oracle_sizes,
    share_of_the_way,
    threshold_masks,
)
from lib.studies.pin.reinforce import Choices, noisy_choices
from lib.studies.pin.selection import reward


@pytest.fixture(scope="module")
def basis():
    torch.manual_seed(0)
    return Basis(**fit_pca(torch.rand(30, 1, 16, 16), 8))


@pytest.fixture(scope="module")
def found(basis):
    return noisy_choices(torch.rand(40, 1, 16, 16), basis, 0.04, torch.Generator().manual_seed(0))


def test_fixed_mask_is_the_best_of_all_prefixes_and_near_the_best_of_all_masks(found):
    penalty = 0.05
    mask, earned = fixed_mask(found, found, penalty, step=1)
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=8)))
    best = max(reward(q.expand(40, -1), found.weights, found.energy, penalty).mean() for q in every)
    assert torch.allclose(earned, reward(mask.expand(40, -1), found.weights, found.energy, penalty))
    assert best - 0.02 * best.abs() <= earned.mean() <= best + 1e-4


def test_threshold_level_earns_most_among_the_levels(found, basis):
    levels = [0.0, 0.1, 0.2, 0.4, 0.8]
    best = best_threshold_level(found, basis, 0.05, levels)
    earned = {v: reward(threshold_masks(found, basis, v), found.weights, found.energy, 0.05).mean() for v in levels}
    assert earned[best] == max(earned.values())
    assert threshold_masks(found, basis, 0.0).all()


def test_entropy_of_coins_and_of_certainty():
    p = torch.tensor([[0.5, 0.5, 0.5], [0.0, 1.0, 1.0], [0.25, 1.0, 0.0]])
    assert torch.allclose(entropy_bits(p), torch.tensor([3.0, 0.0, 0.8112781]))


def test_what_pca_of_the_same_size_would_drop():
    masks = torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
    assert beyond_pca(masks).tolist() == [0, 0.5, 1, 0]


def test_share_of_the_way_by_hand():
    worst, best = torch.tensor([-4.0, -2.0]), torch.tensor([0.0, 2.0])
    assert share_of_the_way(torch.tensor([-2.0, 0.0]), worst, best) == 0.5
    assert share_of_the_way(worst, worst, best) == 0
    assert share_of_the_way(best, worst, best) == 1


def test_overlap_is_jaccards():
    masks = torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]])
    assert torch.allclose(jaccard(masks), torch.tensor([1 / 3, 1.0]))


def test_the_study_finds_the_estimator_unbiased_and_the_own_baseline_quieter(found):
    few = Choices(found.noisy[:10], found.weights[:10], found.energy[:10])
    study = estimator_study(few, torch.zeros(10, 8), 0.015, "squared", 10, 400)
    for name, cell in study.items():
        wanted = 0.9 if name == "image" else 1.0
        assert abs(cell["slope"] - wanted) < 4 * cell["error"] + 0.01, name
    assert study["leave-one-out"]["variance"] < study["batch"]["variance"] < study["none"]["variance"]
    assert torch.tensor(estimator_study(few, torch.zeros(10, 8), 0.015, "l2", 5, 3)["none"]["slope"]).isnan()


def test_oracle_project_without_penalty_and_noise_is_the_whole_projection(basis):
    x = torch.rand(3, 1, 16, 16)
    whole = ((x.flatten(1) - basis.mean) @ basis.vectors @ basis.vectors.T + basis.mean).view_as(x)
    assert torch.allclose(oracle_project(basis, x, x, 0.0), whole, atol=1e-5)


def test_the_released_mean_loss_keeps_fewest(found):
    sizes = {norm: oracle_sizes(found, 0.015, norm).mean() for norm in ("l2", "squared", "mean")}
    assert sizes["mean"] < sizes["l2"] <= sizes["squared"]
