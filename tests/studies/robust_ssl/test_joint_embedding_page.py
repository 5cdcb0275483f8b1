"""Measures of page 15 beside collapse, on answers made to hold and to fail."""

from types import SimpleNamespace

import pytest
import torch

from lib.book.ledger import judge
from lib.papers import registered_claim
from lib.studies.robust_ssl import joint_embedding_page as page
from lib.studies.robust_ssl.families import METHODS, family
from lib.studies.robust_ssl.views import LEFT_OUT
from lib.training.labelled import Labelled
from tests.studies.robust_ssl.small import SIZES, pictures, plan, prepared


def verdict(name, interval):
    return judge((interval.low, interval.high), registered_claim(name))


def rates(share, seed, n=400):
    return torch.rand(2, n, generator=torch.Generator().manual_seed(seed)) < share


def test_the_least_gain_over_an_untrained_encoder():
    base = rates(0.2, 0)
    found = page.least_gain({"good": rates(0.9, 1), "fair": rates(0.5, 2)}, base)
    wanted = 100 * (rates(0.5, 2).double().mean() - base.double().mean()).item()
    assert found.estimate == pytest.approx(wanted)
    assert verdict("ours-15b", found) == "passed"
    assert verdict("ours-15b", page.least_gain({"good": rates(0.9, 1), "none": rates(0.05, 3)}, base)) == "failed"


def domain(kept, seed, n=400):
    """Answers with all augmentations, and without each, of which the share `kept` of the right ones is left."""
    return {"all": rates(0.8, seed, n)} | {name: rates(0.8 * kept, seed + at, n) for at, name in enumerate(LEFT_OUT, 1)}


def test_the_share_that_an_augmentation_earns_by_hand():
    right = domain(0.5, 0)
    wanted = [1 - right[name].double().mean() / right["all"].double().mean() for name in LEFT_OUT]
    found = page.shares_lost(right, resamples=3)
    assert found.shape == (4,)
    assert found[0].item() == pytest.approx(sum(wanted).item() / 5)
    assert page.earned(right)["flip"].estimate == pytest.approx(100 * wanted[1].item())


def test_augmentations_earn_more_on_one_domain():
    """Of 400 objects and 90 faces, whose accuracies need not be alike."""
    much, little = domain(0.6, 0), domain(1.0, 10, 90)
    assert verdict("robust_ssl-9", page.sensitivity(much, little)) == "replicated"
    assert verdict("robust_ssl-9", page.sensitivity(little, much)) == "not replicated"
    one_seed = {name: rows[:1] for name, rows in little.items()}
    assert page.sensitivity(much, one_seed).n == 90


def test_who_always_answers_the_most_frequent_class():
    labels = {"learn": torch.tensor([0, 1, 1, 2]), "held": torch.tensor([0]), "test": torch.tensor([1, 2, 1])}
    assert page.most_frequent(Labelled({}, labels, ("a", "b", "c"))).tolist() == [True, False, True]


def test_a_step_is_timed_with_all_its_views():
    objects = SimpleNamespace(images={"learn": pictures()}, labels={"learn": torch.arange(12) % 3})
    study = SimpleNamespace(
        objects=objects,
        plan_of=plan,
        run=SimpleNamespace(device=torch.device("cpu")),
        scale=SimpleNamespace(batch=4),
        sizes=SIZES,
    )
    found = page.step_costs(study, rounds=1)
    assert {name: views for name, (views, _) in found.items()} == {
        name: 3 if name in ("SwAV", "DINO") else 2 for name in (*METHODS, "supervised")
    }
    assert all(milliseconds > 0 for _, milliseconds in found.values())


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_lightlys_and_a_wrong_weight_is_not(method):
    pytest.importorskip("lightly.loss")
    model, loss, first, second = prepared(method)
    with torch.no_grad():
        theirs = float(page.lightly_loss(method, model, loss, first, second))
        assert loss.compare(model, first, second)["loss"].item() == pytest.approx(theirs, rel=1e-4)
        part = family(method).parts[0]
        wrong = prepared(method, part)[1].compare(model, first, second)["loss"].item()
        same_number = part in ("stop-gradient", "centring")  # these change the gradient, or the steps to come
        assert (wrong == pytest.approx(theirs, rel=1e-4)) == same_number


def test_grids_name_every_case():
    grid = page.circle_grid(2, 2)
    assert "DINO / centring" in grid
    assert all(angles.shape == (3, 24) for angles in grid.values())


def test_ends_are_those_of_several_first_weights():
    ends = page.circle_ends(1, seeds=2)
    assert len(ends) == 2 * len(METHODS)
    assert all(found.shape == (2, 24, 2) for found in ends.values())
    assert not torch.equal(*ends["SimCLR / negatives"])
