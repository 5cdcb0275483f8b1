import pytest
import torch

from lib import cache
from lib.book import run as book
from lib.errors import WorkbookError
from lib.studies.dar_sfrl import training
from lib.studies.dar_sfrl.networks import Guarded, Pixels
from lib.studies.dar_sfrl.study import (
    ABLATIONS,
    ROBUST,
    SIZES,
    UNITS,
    pairs_for,
    removals,
    study_for,
    units_for,
)
from lib.studies.dar_sfrl.training import PAPER, STEPWISE


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    return study_for(book.start("09_degradation", profile="smoke", device="cpu"))


def test_parts_share_no_person_and_no_picture(study):
    data = study.expressions
    assert {name: len(part) for name, part in data.images.items()}["learn"] <= study.scale.learn
    assert all(part.shape[1:] == (3, 16, 16) and part.dtype == torch.uint8 for part in data.images.values())
    x, labels = data.part("test", 5)
    assert x.max() <= 1
    assert len(labels) == 5
    flat = [{bytes(image.flatten().tolist()) for image in part} for part in data.images.values()]
    assert sum(len(part) for part in flat) == len(set().union(*flat))
    with pytest.raises(WorkbookError, match="The parts are"):
        data.part("train")


def test_faces_units_and_pairs(study):
    images, people = study.faces
    assert len(images) == len(people) == study.scale.faces
    pixels, present, folds = units_for(study.run, study.scale)
    assert present.shape == (len(pixels), len(UNITS))
    assert len(UNITS) >= 8
    per_person = folds.view(study.scale.unit_people, -1)
    assert (per_person == per_person[:, :1]).all()
    assert present.any(0).all()
    _, pairs, needed, found = pairs_for(study.run, study.scale)
    assert torch.isin(pairs.first, needed).all()
    assert len(needed) == len(found)


def test_a_training_is_kept_and_a_probe_stands_on_it(study, monkeypatch):
    encoder = study.encoder("DAR-SFRL")
    assert isinstance(encoder, Pixels)
    probe = study.probe(encoder)
    x, labels = study.expressions.part("held")
    fitted = study.fitted(encoder)
    share = (probe(x).argmax(1) == labels).float().mean().item()
    assert share == pytest.approx(fitted["held accuracy"].max().item(), abs=1e-6)
    seen = []
    monkeypatch.setattr(training, "fit", lambda *given, **more: seen.append(1))
    assert torch.equal(study.encoder("DAR-SFRL")(x), encoder(x))
    assert not seen


def test_every_method_gives_features_and_unknown_ones_are_told(study):
    x = study.expressions.part("test", 2)[0]
    sizes = {name: study.encoder(name)(x).shape for name in ("raw pixels", "untrained", "SimCLR", "PCL", "FRA")}
    assert sizes == {"raw pixels": (2, 768), "untrained": (2, 8), "SimCLR": (2, 8), "PCL": (2, 8), "FRA": (2, 16)}
    assert isinstance(study.encoder("DAR before SimCLR"), Guarded)
    robust = {name: study.encoder(name) for name in ROBUST}
    assert all(encoder(x).shape == (2, 8) and not encoder.training for encoder in robust.values())
    assert "identity" in study.self_supervised("FaceCycle")
    with pytest.raises(WorkbookError, match="not trained without labels"):
        study.encoder("BYOL")


def test_table_4_has_its_four_encoders_at_equal_steps(study):
    x = study.expressions.part("test", 2)[0]
    sizes = {name: study.ablation(name)(x).shape for name in ABLATIONS}
    assert sizes == {"baseline": (2, 8), "no NOCL": (2, 768), "no DAFR": (2, 8), "full": (2, 768)}
    lengths = {name: len(study.ablation_training(name)["history"]["loss"]) for name in ABLATIONS}
    assert lengths == dict.fromkeys(ABLATIONS, 3 * study.scale.ablation_steps)
    full, printed_sum = study.ablation_training("full"), study.plan()["sum norm 0"]()
    assert all(torch.equal(value, printed_sum["weights"][name]) for name, value in full["weights"].items())
    with pytest.raises(WorkbookError, match="The ablations are"):
        study.ablation("no faces")


def test_short_trainings_have_as_many_optimiser_steps(study):
    assert study.short_steps == 3 * study.scale.ablation_steps
    for objective in (PAPER, *(PAPER.but(losses=losses) for losses in removals()), PAPER.but(losses=("mae",))):
        assert len(study.short_training(0, objective)["history"]["loss"]) == study.short_steps
    in_turn = study.short_training(0, STEPWISE)  # in each of its iterations a step for each of three parts
    assert len(in_turn["history"]["loss"]) == study.short_steps


def test_the_plan_trains_twice_what_verdicts_are_about_and_rivals_once(study):
    names = list(study.plan())
    restorers = ("DAR", "sum norm", "released", "no NOCL", "L_mae alone", "K 2", "M LSTM")
    twice = (*restorers, "no DAFR", "short baseline", "SimCLR", "PCL", "MoCo")
    assert {f"{name} {seed}" for name in twice for seed in (0, 1)} <= set(names)
    once = ("baseline", "RoCL", "ACL", "FaceCycle", "FRA")
    assert {f"{name} 0" for name in once} <= set(names)
    assert not {f"{name} 1" for name in once} & set(names)
    assert names[:2] == ["DAR 0", "DAR 1"]
    assert len([name for name in names if name.startswith("losses")]) == 6


def test_losses_are_removed_in_every_order():
    assert len(set(removals())) == 6
    assert all(kept[0] == "mae" and 2 <= len(kept) <= 3 for kept in removals())


def test_sizes_have_every_profile():
    assert set(SIZES["side"]) == {"smoke", "laptop", "gpu", "paper"}
