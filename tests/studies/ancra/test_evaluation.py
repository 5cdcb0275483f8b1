import sys
from types import SimpleNamespace

import pytest
import torch

from lib.studies.ancra.evaluation import (
    FeaturePairs,
    best_and_last,
    first_seed,
    more_torn,
    plane_of,
    pooled_quantile,
    same_less_switched,
)
from lib.studies.ancra.feature_gap import PLACES


def test_a_rehearsal_shows_the_two_directions_of_most_spread():
    wide = torch.tensor([[3.0, 0.0, 0.1], [-3.0, 0.0, 0.1], [0.0, 1.0, -0.1], [0.0, -1.0, -0.1]])
    points = plane_of(wide, quick=True)
    assert torch.allclose(points.abs(), torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), atol=1e-5)
    assert torch.allclose(points[0], -points[1], atol=1e-5)


def test_umap_leaves_the_number_of_threads_alone(monkeypatch):
    seen = {}

    class Greedy:
        def __init__(self, **settings):
            seen.update(settings)

        def fit_transform(self, values):
            torch.set_num_threads(before + 1)
            return values[:, :2]

    before = torch.get_num_threads()
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Greedy))
    points = plane_of(torch.arange(30.0).view(10, 3), seed=3)
    assert torch.get_num_threads() == before
    assert seen["n_neighbors"] == 8
    assert seen["random_state"] == 3
    assert points.shape == (10, 2)


def test_the_first_seed_keeps_the_axis_of_seeds():
    found = first_seed({"Nat": torch.tensor([[True, False], [False, False]])})
    assert found["Nat"].tolist() == [[True, False]]


def test_best_is_the_chosen_look_and_last_the_last():
    history = {
        "held_out": torch.tensor([0.9, 0.3, 0.5]),
        "clean error": torch.tensor([0.5, 0.25, 0.0]),
        "PGD error": torch.tensor([0.75, 0.5, 1.0]),
    }
    found = {column: rate.estimate for column, rate in best_and_last(history, 4).items()}
    assert found == {"Best-Nat": 75, "Best-PGD": 50, "Last-Nat": 100, "Last-PGD": 0}


def test_values_of_pairs_at_a_place_and_in_units_of_the_networks_own_negatives():
    length = torch.tensor([[[1.0, 2.0, 4.0], [1.0, 2.0, 8.0], [1.0, 2.0, 2.0]]])  # (1 seed, 3 images, places)
    pairs = FeaturePairs({"net": {"NP": {"L2": length}, "final": {"L2": 3 * length}}})
    assert pairs.values("net", "NP", "L2").tolist() == [[4, 8, 2]]
    assert pairs.values("net", "NP", "L2", PLACES[0]).tolist() == [[1, 1, 1]]
    assert pairs.values("net", "final", "L2 / NP").tolist() == [[3, 6, 1.5]]  # the median of the NP is 4


def test_a_switch_tears_pairs_by_the_difference_of_their_means():
    values = torch.tensor([[1.0, 0.5, 0.0, 0.0]]).double()
    switched = torch.tensor([[False, False, True, True]])
    assert more_torn(values, switched, values / 3, switched) == pytest.approx(0.75 - 0.25)
    assert same_less_switched(values, switched, 1 - values, ~switched) == pytest.approx(1.0)
    assert pooled_quantile(0.5)(values, 2 * values[:, :1]) == 0.5
