"""What all studies share: recipes at the run's precision, results kept and stacked."""

from types import SimpleNamespace

import torch
from torch import nn

from lib.studies.base import Study


class Run:
    """In the place of a page's run: keeps nothing, notes what it was asked for."""

    device = torch.device("cpu")
    seed = 0

    def __init__(self):
        self.asked = []

    def kept(self, function, *arguments, **settings):
        self.asked.append((function, arguments, settings))
        return function(*arguments, **settings)


def sums(model, x, times=1):
    return {"sum": times * model(x).sum(1), "rows": torch.arange(len(x))}


def test_a_result_of_every_model_is_stacked():
    run, models = Run(), [nn.Identity(), nn.Flatten()]
    study = Study(run, SimpleNamespace())
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    found = study.for_each(sums, models, x, times=2)
    assert found["sum"].tolist() == [[6, 14], [6, 14]]
    assert found["rows"].tolist() == [[0, 1], [0, 1]]
    assert [settings for _, _, settings in run.asked] == [{"times": 2}] * 2


def test_recipes_look_as_often_as_they_are_told():
    study = Study(Run(), SimpleNamespace())
    assert (study.recipe(100, 8, 0.1).check_every, study.recipe(100, 8, 0.1, looks=4).check_every) == (10, 25)
    assert study.recipe(3, 8, 0.1).check_every == 1
    assert not study.recipe(3, 8, 0.1).amp
    assert study.recipe(3, 8, 0.1, optimiser="sgd", check_every=2).check_every == 2


def test_a_training_is_kept_by_its_arguments():
    run = Run()
    assert Study(run, SimpleNamespace()).trained(lambda a, b: {"weights": a + b}, 1, 2) == {"weights": 3}
    assert run.asked[0][1] == (1, 2)
