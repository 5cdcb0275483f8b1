"""The study of pages 18 and 19: budgets, kept trainings, classifiers, and the plan."""

import pytest
import torch

from lib import cache
from lib.book import run as book
from lib.errors import WorkbookError
from lib.studies.robust_ssl.adversarial import train
from lib.studies.robust_ssl.adversarial import training as trainings
from lib.studies.robust_ssl.adversarial.study import BY_PASSES, RELEASED, self_at_study_for
from lib.studies.robust_ssl.adversarial.training import SELF_AT
from lib.training import loop


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    return self_at_study_for(book.start(train.PAGE, profile="smoke", device="cpu"))


def test_equal_passes_are_worth_what_acl_takes(study):
    study.scale.steps = 1000
    whole = 1000 * study.costs["ACL"]
    for method in BY_PASSES:
        share = 0.5 if method == "DeACL" else 1.0
        assert study.steps_of(method, "passes") * study.costs[method] == pytest.approx(share * whole, rel=0.01)
        assert study.steps_of(method) == 1000
    with pytest.raises(WorkbookError, match="Budgets are equal"):
        study.steps_of("ACL", "hours")


def test_a_training_is_kept_and_its_encoder_frozen(study, monkeypatch):
    encoder = study.robust_encoder("ACL")
    assert not any(weight.requires_grad for weight in encoder.parameters())
    seen = []
    monkeypatch.setattr(trainings, "fit", lambda *given, **more: seen.append(1))
    study.read.clear()
    x = study.objects.part("test", 4)[0]
    assert torch.equal(study.robust_encoder("ACL")(x), encoder(x))
    assert not seen


def test_teacher_and_pseudo_labels_come_from_simclr(study):
    assert study.aids_of("DeACL", 0, "epochs", "objects").teacher is not None
    pseudo = study.aids_of("AdvCL", 0, "epochs", "objects").pseudo
    assert pseudo.shape == (len(study.objects.images["learn"]), len(study.scale.clusters))
    assert study.aids_of("ACL", 0, "epochs", "objects").teacher is None


def test_classifiers_are_judged_picture_by_picture(study):
    encoder = study.robust_encoder("ACL")
    models = [study.linear(encoder), study.few_labels(encoder, 0.5), study.tuned_classifier(encoder, "AFF")]
    for model in models:
        found = study.judged_robust([model])
        attacked = study.scale.attacked
        assert found["SA"].shape == (1, study.scale.test)
        assert found["RA"].shape == found["WC"].shape == (1, attacked)
        assert not (found["RA"] & ~found["SA"][:, :attacked]).any()
    assert study.judged_robust(models[:1], official=False)["AA"].shape == (1, 0)
    assert study.judged_robust(models[:1], quick=True)["WC"].shape == (1, 0)
    assert study.by_steps("ACL").shape == (2, len(study.lengths), study.scale.watched)


def test_the_second_stage_changes_the_encoder(study):
    x = study.objects.part("test", 4)[0]
    assert not torch.equal(study.robust_encoder("DynACL++")(x), study.robust_encoder("DynACL")(x))


def test_the_plan_names_each_training_and_its_minutes(study):
    names = list(study.plan())
    assert names[:7] == ["self-AT passes SimCLR 0", *(f"self-AT {method} 0" for method in SELF_AT)]
    assert {"self-AT DynACL weak 1", "self-AT passes DeACL 0", "self-AT AFF untrained 1", "self-AT faces ACL 0"} <= set(
        names
    )
    assert set(study.minutes()) == set(names)
    assert set(RELEASED) == set(SELF_AT)


def test_each_method_takes_its_best_rate(study, monkeypatch):
    assert study.tuned_rate("ACL") == 1e-3
    assert not study.tuned  # one rate alone needs no training
    study.scale.rates = [1e-3, 1e-2]
    monkeypatch.setattr(
        type(study), "rate_accuracies", lambda self, name: {1e-3: 0.2, 1e-2: 0.1 if name == "ACL" else 0.3}
    )
    rates = {name: study.recipe_of(name, 10, 0).rate for name in ("ACL", "RoCL", "RoCL + ASTrA", "ASTrA")}
    assert rates == {"ACL": 1e-3, "RoCL": 1e-2, "RoCL + ASTrA": 1e-2, "ASTrA": 1e-3}
    assert {"self-AT rates DynACL"} <= set(study.plan())


def test_rates_are_compared_on_held_out_pictures(study):
    study.scale.rates = [1e-3, 1e-2]
    found = study.rate_accuracies("ACL")
    assert set(found) == {1e-3, 1e-2}
    assert all(0 <= share <= 1 for share in found.values())


def test_fine_tuning_of_an_untrained_encoder_has_its_own_rate_and_may_last_longer(study):
    study.scale.tune_rates = [1e-3, 1e-2]
    study.tuned |= {"AFF ACL": 1e-3, "AFF untrained": 1e-2}
    assert study.fine_tuning_rate("DynACL") == 1e-3
    assert study.own_rate("untrained", "AFF") == {"rate": 1e-2}
    assert study.own_rate("ACL", "AFF") == study.own_rate("untrained", "ALF") == {}
    recipe = study.tuning_recipe("AFF", 0, **study.longest)
    cost = study.tuning_cost("AFF")
    whole = study.scale.steps * study.costs["ACL"] + study.scale.tune_steps * cost
    assert (recipe.rate, recipe.steps) == (1e-2, study.longer)
    assert abs(recipe.steps * cost - whole) <= cost
    assert set(study.fine_tuning_accuracies("untrained")) == {1e-3, 1e-2}
