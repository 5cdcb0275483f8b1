"""The one trainer: resumed bitwise, two processes' pieces, collapse watched, and a supervised twin."""

import pytest
import torch

from lib.studies.robust_ssl import training
from lib.studies.robust_ssl.training import (
    CollapseWatch,
    ViewsClassified,
    calibrated,
    train_classifier,
    train_family,
    untrained,
)
from lib.studies.robust_ssl.views import STANDARD
from lib.training import loop
from lib.training.loop import Recipe, fit
from tests.studies.robust_ssl.small import METHODS, SIZES, pictures, plan

RECIPE = Recipe(steps=4, batch=4, rate=1e-3, weight_decay=1e-4, check_every=2)


class KilledError(Exception):
    pass


def fitted(method, folder):
    made = plan(method)
    model = made.model()
    history = fit(model, made.loss(pictures(), model), 12, RECIPE, folder=folder)
    return model, history


@pytest.mark.parametrize("method", METHODS)
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
            fitted(method, tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    torch.manual_seed(5)
    resumed, found = fitted(method, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )
    assert torch.equal(found["loss"], wanted["loss"])


def test_a_training_gives_the_encoder_and_watches_collapse(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    trained = train_family(pictures(), plan("VICReg"), RECIPE, CollapseWatch(pictures(10, 3)))
    assert set(trained) == {"weights", "network", "history"}
    history = trained["history"]
    assert len(history["loss"]) == 4
    assert {"spread", "rank", "share 1", "share 8"} <= set(history)
    assert history["checked"].tolist() == [0, 2, 4]
    assert len(history["rank"]) == 3
    assert sum(history[f"share {at}"][0].item() for at in range(1, 9)) == pytest.approx(1, abs=1e-4)
    start = untrained(pictures(), plan("VICReg"), RECIPE.batch)
    model = plan("VICReg").model()
    model.load_state_dict(start["network"])
    assert CollapseWatch(pictures(10, 3))(model.eval())["rank"] == pytest.approx(history["rank"][0].item(), abs=1e-6)
    encoder = {f"encoder.{name}": value for name, value in trained["weights"].items()}
    assert all(torch.equal(trained["network"][name], value) for name, value in encoder.items())


def test_an_untrained_network_has_the_statistics_of_its_pictures():
    model = plan("SimCLR").model()
    found = calibrated(model, pictures(), STANDARD, batch=6)
    weights = dict(model.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in found.named_parameters())
    norms = [part for part in found.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert not found.training
    assert all(norm.running_mean.abs().sum() > 0 and norm.momentum == 0.1 for norm in norms)
    assert all(int(norm.num_batches_tracked) == training.CALIBRATED for norm in norms)
    first = next(part for part in model.modules() if isinstance(part, torch.nn.BatchNorm2d))
    assert (first.running_mean == 0).all()  # the network that is trained stays as it was


def test_the_supervised_twin_sees_two_views_of_each_picture(monkeypatch, tmp_path):
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    seen = []

    class Counted(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 3)

        def forward(self, x):
            seen.append(len(x))
            return self.layer(x.mean((1, 2, 3))[:, None])

    loss = ViewsClassified(pictures(), torch.arange(12) % 3)
    loss(Counted(), torch.arange(5), torch.Generator().manual_seed(0))
    assert seen == [10]
    trained = train_classifier(pictures(), torch.arange(12) % 3, SIZES, STANDARD, RECIPE)
    assert trained["weights"].keys() == training.Plan("SimCLR", SIZES).model().encoder.state_dict().keys()
