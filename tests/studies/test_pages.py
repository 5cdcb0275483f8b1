import pytest
import torch
from torchvision.utils import save_image

from lib.book.run import start
from lib.data import load
from lib.errors import WorkbookError
from lib.studies.pages import (
    crossed_parts,
    for_page,
    load_or_reason,
    official_pairs,
    other_people,
    pairs_for,
    shown_faces,
)
from tests.data.conftest import picture, write


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


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of 20 people with 3 crops each, drawn by the procedural generator."""
    faces = load("procedural", people=20, per_person=3)
    base = tmp_path_factory.mktemp("own") / "mine"
    for at, label in enumerate(faces.labels.tolist()):
        (base / f"p{label}").mkdir(parents=True, exist_ok=True)
        save_image(faces.images([at])[0], base / f"p{label}" / f"{at}.png")
    return base


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_one_own_faces_serve_a_page(own, profile, monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    run = page(profile, data=f"folder:{own}")
    images = for_page(run, "lfw", others=profile != "smoke")
    assert run.ledger.header["data"] == ["folder: mine"]
    assert (len(images), len(images.classes), images.pairs) == (60, 20, {})
    pairs = official_pairs(images)
    for part in crossed_parts(pairs, 2):
        assert len(other_people(images, part, 60)) == 30
    assert len(pairs_for(images, 40)) == 40
    assert len(pairs_for(images, 400)) == len(pairs) == 120


def test_other_people_to_fit_on_follow_one_s_own(own):
    run = page("smoke", data=f"folder:{own}")
    images, alone = for_page(run, "lfw"), for_page(run, "lfw", others=False)
    assert run.ledger.header["data"][0] == "folder: mine; other people to fit on: embedded: procedural faces"
    assert torch.equal(official_pairs(images).first, official_pairs(alone).first)
    found = other_people(images, official_pairs(images), 5)
    assert len(found) == 5
    assert (found >= len(alone)).all()
    mixed = images.images([len(alone) + 3, 7])
    assert torch.equal(mixed[1], alone.images([7])[0])
    assert torch.equal(mixed[0], load("procedural").images([3])[0])


def test_sections_that_need_another_set_say_so(own, capsys):
    run = page("laptop", data=f"folder:{own}")
    assert load_or_reason(run, "cfp") == (None, "needs the set 'cfp', and this run is on one's own faces")
    with pytest.raises(WorkbookError, match="classifies the things of 'cifar10'"):
        for_page(run, "cifar10")


def test_a_set_that_cannot_be_had_is_a_line_and_a_damaged_one_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path))
    said = []
    run = page("laptop")
    monkeypatch.setattr(type(run), "say", lambda run, text: said.append(text))
    images, reason = load_or_reason(run, "cfp")
    assert images is None
    assert "'cfp' is not in the data root" in reason
    assert len(said) == 1
    assert said[0].startswith("*This section is left out: The set 'cfp'")
    assert load_or_reason(page("smoke"), "cfp")[0].source.startswith("embedded")
    (tmp_path / "cfp112.zip").write_bytes(b"no zip")
    with pytest.raises(WorkbookError, match="not a readable zip"):
        load_or_reason(run, "cfp")


def test_folders_that_do_not_serve_are_one_sentence(tmp_path):
    def complaint(files):
        base = write(tmp_path / str(len(list(tmp_path.iterdir()))), files)
        with pytest.raises(WorkbookError) as error:
            for_page(page("laptop", data=f"folder:{base}"), "lfw")
        return str(error.value)

    crop = picture(9, (112, 112))
    with pytest.raises(WorkbookError, match="There is no folder"):
        for_page(page("laptop", data=f"folder:{tmp_path / 'none'}"), "lfw")
    assert "holds no image" in complaint({"a.txt": "x"})
    assert "holds no folder per person, and its 2 files name 0" in complaint({"a.png": crop, "b.png": crop})
    assert "holds 1 such people among 2" in complaint({"a/1.png": crop, "a/2.png": crop, "b/1.png": crop})
    assert "is not a whole image" in complaint(
        {"a/1.png": crop, "a/2.png": b"\x89PNG", "b/1.png": crop, "b/2.png": crop}
    )
    gray = picture(9, (130, 150))
    assert "No face was found" in complaint({f"{who}/{at}.png": gray for who in "ab" for at in (1, 2)})
