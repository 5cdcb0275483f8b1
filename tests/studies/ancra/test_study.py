from types import SimpleNamespace

import pytest
import torch

from lib.book.run import start
from lib.defences.registry import named_system
from lib.errors import WorkbookError
from lib.studies.ancra.adversarial_training import ANCRATraining
from lib.studies.ancra.evaluation import same_less_switched
from lib.studies.ancra.study import BASELINES, FALLS, METHODS, SIZES, ANCRAStudy, gates_of, pictures_for, split_by_class
from lib.training.adversarial import AdversarialTraining
from tests.conftest import needs_data


@pytest.fixture(scope="module")
def study():
    run = start("13_ancra_training", profile="smoke")
    scale = SimpleNamespace(**{name: cells["smoke"] for name, cells in SIZES.items()})
    scale.epochs, scale.train = 1, 64
    return ANCRAStudy(run, scale, pictures_for(run, scale))


def test_parts_share_no_image_and_hold_only_the_classes_asked_for():
    labels = torch.arange(100) % 10
    first, second = split_by_class(labels, torch.arange(20, 100), [0, 2, 4], [7, 10])
    assert not set(first.tolist()) & set(second.tolist())
    assert (len(first), len(second)) == (7, 10)
    assert set(labels[torch.cat([first, second])].tolist()) <= {0, 2, 4}
    assert min(first.min(), second.min()) >= 20


def test_at_smoke_every_second_digit_is_numbered_anew(study):
    pictures = study.pictures
    assert pictures.classes == ["0", "2", "4", "6", "8"]
    tested = pictures.part("test")
    assert tested.x.shape == (30, 3, 16, 16)
    assert 0 <= tested.x.min() <= tested.x.max() <= 1
    assert set(tested.labels.tolist()) == set(range(5))


def test_every_method_has_a_loss_with_the_settings_of_its_name(study):
    for name in METHODS:
        loss = study.loss(name)
        ours = name.endswith(("ANC", "RA"))
        assert type(loss) is (ANCRATraining if ours else AdversarialTraining)
        assert not ours or (loss.zeta > 0) == name.endswith(("ANC", "ANCRA"))
        assert name.startswith(loss.base)
        assert loss.steps * loss.step == pytest.approx(0.07)
    assert study.loss("TRADES-ANCRA", alpha=0.5).alpha == 0.5


@pytest.mark.parametrize("name", ["natural", "TRADES-ANCRA", *BASELINES])
def test_methods_and_rivals_train(study, name):
    model = study.model(name)
    assert model.gates == (2 if name == "TRADES-ANCRA" else 0)
    assert study.training(name)["history"]["loss"].isfinite().all()


def test_every_method_is_a_registered_system(study):
    for name in (*METHODS, *BASELINES):
        system = named_system(name)
        assert system.kind == "classifier"
        assert ("adaptive" in system.threats) == (gates_of(name) > 0)
    built = named_system("TRADES-ANCRA").build(study, 1)
    assert all(map(torch.equal, built.state_dict().values(), study.model("TRADES-ANCRA", 1).state_dict().values()))


def test_points_are_the_difference_of_per_cents(study):
    one, two = torch.tensor([[True, True, False, True]] * 2), torch.tensor([[True, False, False, True]] * 2)
    assert study.percent(one).estimate == 75
    assert study.points(one, two).estimate == 25
    assert study.points(one, one).low == study.points(one, one).high == 0


def test_the_paper_profile_takes_the_sources_schedule(study):
    paper = SimpleNamespace(**{name: cells["paper"] for name, cells in SIZES.items()})
    recipe = ANCRAStudy(study.run, paper, study.pictures).recipe_for()
    assert (recipe.schedule, recipe.falls) == ("falls", FALLS)
    assert (recipe.rate, recipe.weight_decay, recipe.momentum) == (0.01, 2e-4, 0.9)


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        pytest.param("tiny_imagenet", 10, marks=needs_data("tiny_imagenet_20.zip")),
        pytest.param("cifar10", 5, marks=needs_data("cifar10.zip")),
    ],
)
def test_real_pictures_keep_to_their_own_training_and_test_parts(name, classes):
    run = start("14_ancra_attacks", profile="laptop")
    scale = SimpleNamespace(every=2, train=100, held=20, test=30)
    pictures = pictures_for(run, scale, name)
    assert len(pictures.classes) == classes
    sizes = {part: tuple(pictures.part(part).x.shape) for part in pictures.images}
    assert sizes == {"train": (100, 3, 32, 32), "held": (20, 3, 32, 32), "test": (30, 3, 32, 32)}
    rows = torch.cat([images.flatten(1) for images in pictures.images.values()])
    assert len(rows.unique(dim=0)) == 150
    assert torch.equal(pictures.images["test"], pictures_for(run, scale, name).images["test"])


def test_bad_input(study):
    with pytest.raises(WorkbookError, match="no method 'XYZ'"):
        study.loss("XYZ")
    with pytest.raises(WorkbookError, match="not 'dev'"):
        study.pictures.part("dev")
    with pytest.raises(WorkbookError, match="do not suffice"):
        split_by_class(torch.zeros(5), torch.arange(5), [0], [5, 4])


def test_judged_is_at_most_the_weakest_of_what_it_ran(study):
    sizes = {"tested": 12, "attacked": 6, "source_steps": 1, "adaptive_steps": 1, "targets": 1}
    study.scale = SimpleNamespace(**vars(study.scale), **sizes)
    found = study.judged([study.network(2).classifier().eval()])
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "Nat": (1, 12),
        "PGD": (1, 12),
        "total PGD": (1, 12),
        "worst": (1, 6),
    }
    assert not (found["worst"] & ~found["PGD"][:, :6]).any()


def test_without_gates_every_view_of_autoattack_is_the_model(study):
    examples = study.pictures.part("test").rows(slice(3))
    how = {"version": "square", "queries": 2, "iterations": 1, "targets": 1}
    plain = [study.network().classifier().eval()]
    first, second = (study.autoattacks(plain, examples, view, **how)[0]["correct"] for view in ("final", "soft"))
    assert torch.equal(first, second)
    assert "digits" in study.setting(3, 1)


def test_missing_negatives_of_each_seed(study):
    study.scale = SimpleNamespace(**vars(study.scale), draws=3)
    sure = torch.nn.functional.one_hot(study.labels, 5).double()
    found = study.missing_negatives([sure, sure], "hard", 8)
    assert found.tolist() == [[1.0] * 3] * 2  # no mistake, no visitor


def test_claims_on_halves_need_both_halves(study, monkeypatch):
    claims = []
    monkeypatch.setattr(study.run, "claim", lambda *given: claims.append(given))
    values = torch.tensor([[1.0, 0.5, 0.0, 0.0]])
    some = torch.tensor([[False, False, True, True]])
    study.claim_halves("a", same_less_switched, values, some, values, some)
    study.claim_halves("b", same_less_switched, values, some, values, some & False)
    assert claims[0][1].estimate == 0.75
    assert claims[1] == ("b", None, "in one of the networks no mask was switched, or every one")
    assert study.mean_of(values, some & False) == "–"
    assert study.mean_of(values, some).startswith("0.00")
