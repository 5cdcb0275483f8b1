import pytest
import torch

from lib.book.run import start
from lib.data import load
from lib.errors import WorkbookError
from lib.studies.pages import crossed_parts, for_page, official_pairs, other_people, shown_faces


def page(profile, data="auto"):
    return start("01_subspace_noise", profile=profile, device="cpu", data=data)


def test_smoke_takes_the_embedded_faces(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    run = page("smoke")
    assert for_page(run, "lfw").source.startswith("embedded")
    assert run.ledger.header["data"] == ["embedded: procedural faces"]
    assert shown_faces(run).shown


def test_laptop_never_falls_back_silently(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    with pytest.raises(WorkbookError, match="profile='smoke' or data='embedded'"):
        for_page(page("laptop"), "cfp")
    assert for_page(page("laptop", data="embedded"), "cfp").source.startswith("embedded")


def test_other_people_are_other_people():
    faces = load("procedural", people=12, per_person=3)
    pairs = official_pairs(faces)
    index = other_people(faces, pairs, 10)
    used = faces.labels[torch.cat([pairs.first, pairs.second])]
    assert len(index) == 10
    assert not torch.isin(faces.labels[index], used).any()


def test_everybody_tested_leaves_nobody_to_fit():
    faces = load("procedural", people=4, per_person=2)
    index = torch.arange(0, 8, 2)
    pairs = official_pairs(faces)
    everyone = type(pairs)(index, index + 1, torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.long))
    with pytest.raises(WorkbookError, match="Every person"):
        other_people(faces, everyone, 5)


def test_parts_share_no_fold():
    faces = load("procedural", people=20, per_person=5)
    pairs = official_pairs(faces)
    parts = crossed_parts(pairs, 2)
    assert sum(len(part) for part in parts) == len(pairs)
    assert not set(parts[0].fold.tolist()) & set(parts[1].fold.tolist())
