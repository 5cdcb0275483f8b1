"""The one trainer: passes are those of the formulas, a killed run ends as an unbroken one, keys follow the method."""

from dataclasses import replace

import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.robust_ssl.adversarial.self_at_page import passes_by_formula
from lib.studies.robust_ssl.adversarial.training import SELF_AT, self_at, step_passes, train_self_at
from lib.training import loop
from lib.training.loop import Recipe, fit
from tests.studies.robust_ssl.adversarial.small import COUNT, aids, pictures, plan

RECIPE = Recipe(steps=4, batch=4, rate=1e-3, weight_decay=1e-4, check_every=2)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("method", SELF_AT)
def test_counted_passes_are_those_of_the_formula(method):
    assert step_passes(pictures(), plan(method), COUNT) == passes_by_formula(1, 1)[method]


def fitted(method, folder):
    made = plan(method)
    model = made.model()
    history = fit(model, made.loss(pictures(), model), COUNT, RECIPE, folder=folder)
    return model, history


@pytest.mark.parametrize("method", ["AdvCL", "DynACL"])
def test_a_killed_training_ends_as_if_never_killed(method, tmp_path, monkeypatch):
    whole, wanted = fitted(method, tmp_path / "whole")
    advance = loop._Descent.advance

    def dies(run, step):
        if step == 2:
            raise KilledError
        advance(run, step)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1.0)
        patch.setattr(loop._Descent, "advance", dies)
        with pytest.raises(KilledError):
            fitted(method, tmp_path / "killed")
    resumed, found = fitted(method, tmp_path / "killed")
    assert torch.equal(found["loss"], wanted["loss"])
    weights = resumed.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in whole.state_dict().items())


def test_what_is_trained_keys_the_training():
    made = plan("ACL")
    assert made.fingerprint == plan("ACL").fingerprint
    others = [plan("DynACL"), replace(made, aids=aids(4)), replace(made, options=None)]
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_an_unknown_method_is_told():
    with pytest.raises(WorkbookError, match="The methods are"):
        self_at("MAE")


def test_a_training_gives_encoder_and_network(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    found = train_self_at(pictures(), plan("RoCL"), RECIPE)
    assert set(found) == {"weights", "network", "history"}
    assert len(found["history"]["loss"]) == 4
    assert set(found["weights"]) < {name.removeprefix("encoder.") for name in found["network"]}
