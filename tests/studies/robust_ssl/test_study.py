import pytest
import torch

from lib import cache
from lib.book import run as book
from lib.data.datasets.expression_classes import EXPRESSIONS
from lib.errors import WorkbookError
from lib.studies.robust_ssl import training as trainings
from lib.studies.robust_ssl.data import identity_parts, probed_people
from lib.studies.robust_ssl.study import CONFORMAL, METHODS, SSLStudy, bent_views, study_for
from lib.training import loop


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    return study_for(book.start("15_joint_embedding", profile="smoke", device="cpu"))


def pictures(part):
    return {bytes(image.flatten().tolist()) for image in part}


def test_parts_share_no_picture(study):
    data = study.objects
    assert {name: len(part) for name, part in data.images.items()} == {"learn": 60, "held": 30, "test": 30}
    sets = [pictures(part) for part in data.images.values()]
    assert len(set().union(*sets)) == sum(len(part) for part in sets)
    x, labels = data.part("test", 5)
    assert x.shape == (5, 3, 32, 32)
    assert x.max() <= 1
    assert len(labels) == 5
    five = study.labelled("five")
    assert max(int(labels.max()) for labels in five.labels.values()) == 4
    with pytest.raises(WorkbookError, match="The parts are"):
        data.part("train")


def test_people_of_the_probe_are_not_learnt_from(study):
    faces = study.faces
    learnt = pictures(faces.images)
    for part in faces.identity.images.values():
        assert not learnt & pictures(part)
    people = [set(labels.tolist()) for labels in faces.identity.labels.values()]
    assert people[2] <= people[0]
    assert len(faces.identity.classes) == study.scale.people
    assert set(faces.expression.labels["learn"].tolist()) <= set(range(len(EXPRESSIONS)))


def test_domains_are_compared_on_as_many_colour_pictures(study):
    faces, objects = (study.pretraining(domain, alike=True) for domain in ("faces", "objects"))
    assert len(faces) == len(objects) == min(len(study.faces.colour), len(study.objects.images["learn"]))
    assert torch.equal(faces, study.faces.colour[: len(faces)])
    assert pictures(faces) <= pictures(study.faces.images)


def test_probes_of_the_plan_are_those_that_the_page_reads(study):
    assert set(study.read_on(("objects", "five"), "raw pixels")) == {"objects", "five"}
    assert study.encoder("raw pixels")(torch.zeros(2, 3, 4, 4)).shape == (2, 48)
    known = len(study.faces.identity.labels["test"])
    assert len(study.read_left_out("crop", 0, "faces")["linear"]) == known
    assert len(study.read_short("untrained")["linear"]) == study.scale.test


def test_identity_parts_deal_three_in_ten_to_the_test(study):
    class Album:
        labels = torch.arange(4).repeat_interleave(10)
        classes = ["Ann", "Bob", "Cid", "Dot"]

        def __len__(self):
            return 40

        def images(self, index):
            return torch.as_tensor(index).view(-1, 1, 1, 1).expand(-1, 3, 4, 4) / 255

    found = identity_parts(Album(), torch.tensor([1, 3]), 4)
    assert {name: len(labels) for name, labels in found.labels.items()} == {"learn": 10, "held": 4, "test": 6}
    assert found.classes == ("Bob", "Dot")
    owner = found.images["test"][:, 0, 0, 0].long() // 10
    assert torch.equal(torch.tensor([1, 3])[found.labels["test"]], owner)
    assert probed_people(torch.tensor([0, 0, 1, 2, 2, 2, 3]), 2).tolist() == [2, 0]


def test_a_training_is_kept_and_gives_a_frozen_encoder(study, monkeypatch):
    encoder = study.encoder("SimCLR")
    assert not encoder.training
    assert not any(weight.requires_grad for weight in encoder.parameters())
    x, labels = study.objects.part("test")
    probe = study.probe(encoder)
    right = probe(x).argmax(1) == labels
    assert torch.equal(right, study.fitted(encoder)["linear"])
    seen = []
    monkeypatch.setattr(trainings, "fit", lambda *given, **more: seen.append(1))
    assert torch.equal(study.encoder("SimCLR")(x), encoder(x))
    assert not seen


def test_rates_are_tuned_on_held_out_pictures_and_the_short_run_is_one_of_them(study, monkeypatch):
    assert list(study.rate_accuracies("supervised")) == study.scale.rates
    found = study.rate_accuracies("VICReg")
    assert list(found) == study.scale.rates
    best = study.tuned_rate("VICReg")
    assert found[best] == max(found.values())
    seen = []
    monkeypatch.setattr(trainings, "fit", lambda *given, **more: seen.append(1))
    study.short("VICReg", 0)
    assert not seen


def test_what_changes_a_training_changes_its_encoder(study):
    x = study.objects.part("test", 4)[0]
    found = [
        study.encoder("SimSiam")(x),
        study.encoder("SimSiam", 1)(x),
        study.encoder("SimSiam", views=CONFORMAL["moebius"])(x),
        study.encoder("SimSiam", domain="faces")(x),
        study.encoder("supervised")(x),
        study.encoder("untrained")(x),
        study.encoder("untrained", domain="faces")(x),
        study.encoder_from(study.ssl("SimSiam", without="predictor"))(x),
    ]
    assert all(not torch.equal(a, b) for at, a in enumerate(found) for b in found[:at])
    for wrong, word in ((lambda: study.encoder("VAE"), "families"), (lambda: study.probe(None, "age"), "age")):
        with pytest.raises(WorkbookError, match=word):
            wrong()
    with pytest.raises(WorkbookError, match="there is none of faces"):
        study.encoder("supervised", domain="faces")


def test_the_plan_begins_with_rates_and_encoders(study):
    names = list(study.plan())
    assert names[:8] == [f"rates {method}" for method in METHODS]
    assert names[8] == "rates supervised"
    assert names[9:17] == [f"{method} 0" for method in METHODS]
    assert {"supervised 1", "short DINO without centring 1", "moebius DINO 1", "affine SimCLR 0"} <= set(names)
    assert {"faces without crop 1", "objects with all 0", "faces BYOL 0", "raw pixels 0"} <= set(names)
    assert {"short MoCo without momentum encoder 0", "released SimCLR 1", "pose moebius 1"} <= set(names)
    assert {"released short SimCLR 1", "standard long SimCLR 0", "released long SimCLR 1"} <= set(names)
    once = {"short MoCo without momentum encoder 1", "faces MoCo 0", "short DINO without EMA 1"}
    assert not once & set(names)


def test_the_map_comes_after_dinos_crop_and_before_that_of_others():
    assert bent_views("log", "DINO").after_crop
    assert not bent_views("log").after_crop
    assert bent_views("released").magnitude == (0.2, 0.4)


def test_lengths_are_kept_apart_and_the_middle_one_is_the_plain_training(study):
    s = study.scale
    assert study.of_length(s.steps) is study.ssl("SimCLR")
    weights = [study.of_length(steps)["weights"]["trunk.stem.0.weight"] for steps in (s.steps, s.long_steps)]
    assert not torch.equal(*weights)


def test_objects_are_had_without_any_face(study, monkeypatch):
    monkeypatch.setattr(SSLStudy, "faces", None)  # a page on objects alone has no sizes of faces
    assert len(study.pretraining()) == len(study.objects.images["learn"])
