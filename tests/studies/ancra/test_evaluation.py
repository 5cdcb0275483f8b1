import sys
from types import SimpleNamespace

import torch

from lib.studies.ancra.evaluation import best_and_last, first_seed, plane_of


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
