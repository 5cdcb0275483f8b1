"""Fine-tuning moves what it should, along the routes it should; accuracies are taken picture by picture."""

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.studies.robust_ssl.adversarial.finetuning import FineTuning, RoutedClassifier, fine_tune, share_of
from lib.studies.robust_ssl.adversarial.networks import OneRoute, RoutedEncoder, with_two_sets
from lib.studies.robust_ssl.adversarial.robustness import (
    GOALS,
    Judges,
    RobustWatch,
    TunedWatch,
    right_after,
    right_by_steps,
    rights_under,
)
from lib.studies.robust_ssl.adversarial.training import SELF_AT
from lib.training import loop
from lib.training.loop import Recipe
from tests.studies.robust_ssl.adversarial.small import COUNT, SIZES, pictures, plan

RECIPE = Recipe(steps=2, batch=6, rate=1e-2)
LABELS = torch.arange(COUNT) % 4


@pytest.fixture(autouse=True)
def own_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RUNS", tmp_path)


def tuned(mode, **more):
    torch.manual_seed(0)
    encoder = RoutedEncoder(SIZES, 2)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    found = fine_tune(encoder, FineTuning(mode, pictures(), LABELS, RECIPE, 1, **more), 4)
    return before, found["weights"]


def test_alf_moves_the_layer_alone():
    before, after = tuned("ALF")
    assert after["fc.weight"].abs().sum() > 0
    assert all(torch.equal(value, after[f"encoder.network.{name}"]) for name, value in before.items())


def test_aff_moves_everything_and_both_statistics():
    before, after = tuned("AFF")
    moved = [name for name, value in before.items() if not torch.equal(value, after[f"encoder.{name}"])]
    assert any("clean.running_mean" in name for name in moved)
    assert any("adversarial.running_mean" in name for name in moved)
    assert "trunk.stem.0.weight" in moved


def test_a_layer_may_be_given():
    layer = {"weight": torch.ones(4, 16), "bias": torch.zeros(4)}
    tuning = FineTuning("AFF", pictures(), LABELS, RECIPE, layer=layer)
    assert torch.equal(tuning.classifier(RoutedEncoder(SIZES, 1), 4).fc.weight, torch.ones(4, 16))
    with pytest.raises(WorkbookError, match="SLF is a linear probe"):
        FineTuning("SLF", pictures(), LABELS, RECIPE)


def test_a_share_takes_of_every_class():
    images, labels = share_of(pictures(), LABELS, 0.34)
    assert labels.bincount().tolist() == [1, 1, 1, 1]
    assert len(images) == 4
    assert not torch.equal(images, share_of(pictures(), LABELS, 0.34, seed=1)[0])
    with pytest.raises(WorkbookError, match="give 10 % as 0.1"):
        share_of(pictures(), LABELS, 10)


def test_one_route_serves_clean_and_attacked():
    torch.manual_seed(0)
    model = RoutedClassifier(RoutedEncoder(SIZES, 2), 4).eval()
    nn.init.normal_(model.fc.weight)
    for module in model.modules():
        if hasattr(module, "adversarial"):
            module.adversarial.running_mean += 1
    x = pictures().float() / 255
    assert not torch.allclose(OneRoute(model)(x), OneRoute(model, "clean")(x))
    assert torch.equal(OneRoute(model, "clean")(x), model(x))


def test_rights_never_rise_under_attack():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).eval()
    x = pictures().float() / 255
    labels = model(x).argmax(1)
    found = rights_under(model, x, labels, Judges("8/255", 5, 8, 10, 6, 2, 2))
    assert found["SA"].all()
    assert len(found["SA"]) == COUNT
    assert not (found["WC"] & ~found["RA"]).any()
    assert not (found["AA"] & ~found["WC"][:6]).any()
    assert (found["RA"].shape, found["WC"].shape, found["AA"].shape) == ((8,), (8,), (6,))
    assert right_after(model, x, labels, 0.0, 1).all()
    quick = rights_under(model, x, labels, Judges(steps=1, margin=0, autoattacked=0))
    assert len(quick["WC"]) == len(quick["AA"]) == 0
    by_steps = right_by_steps(model, x, labels, (1, 10))
    assert by_steps.shape == (len(GOALS), 2, COUNT)
    assert (by_steps[:, 0].sum(1) >= by_steps[:, 1].sum(1)).all()  # more steps break more


def test_watches_tell_shares():
    data = (pictures(), LABELS)
    found = RobustWatch(data, data, 1)(plan("ACL").model().eval())
    assert 0 <= found["RA"] <= found["SA"] <= 1
    model = RoutedClassifier(RoutedEncoder(SIZES, 2), 4).eval()
    assert TunedWatch(*data, 1)(model)["SA"] == 0.25  # zeros name the first class
    assert set(SELF_AT) == {"SimCLR", "RoCL", "ACL", "AdvCL", "DeACL", "DynACL"}


def test_one_set_of_statistics_becomes_two_that_are_alike():
    torch.manual_seed(0)
    single = RoutedEncoder(SIZES, 1)
    single.train()(pictures().float() / 255)  # statistics that are not those of a new network
    single.eval()
    both = with_two_sets(single)
    x = pictures().float() / 255
    assert all(torch.allclose(OneRoute(both, way)(x), single(x), atol=1e-6) for way in ("clean", "adversarial"))
    assert len(both.state_dict()) > len(single.state_dict())
    assert with_two_sets(both).state_dict().keys() == both.state_dict().keys()
    triple = RoutedEncoder(SIZES, 3)
    assert with_two_sets(triple).state_dict().keys() == triple.state_dict().keys()
