import subprocess
import sys

import pytest

from lib.data import SETS, doctor
from lib.data.__main__ import main
from lib.data.doctor import brief, healthy
from lib.data.readers import archives
from lib.data.registry import WEIGHTS
from lib.errors import WorkbookError
from lib.paths import ROOT
from tests.conftest import needs_data
from tests.data.conftest import picture, write, write_zip

ATT = {f"att_faces/s1/{k}.pgm": picture(k, (92, 112), "L", "PPM") for k in (1, 2)}


def row(table, name):
    return table[table["set"] == name].iloc[0]


def test_an_empty_root(root):
    table = doctor()
    assert list(table["set"]) == [*SETS, *(each.what for each in WEIGHTS)]
    status = table.set_index("set")["status"]
    assert status[["procedural", "digits", "lfw", "cfp", "cifar10"]].tolist() == [
        "embedded", "embedded", "download", "ask", "download"]  # fmt: skip
    assert status["second recogniser"] == "ask"
    assert status["face detector"] == "found"
    assert row(table, "celeba_sub")["pages"] == "04, 07-11, 15, 17"
    assert healthy(table)
    assert main(["doctor"]) == 0


def test_found_counts_and_no_path_in_the_table(root, capsys):
    write_zip(root / "att_faces.zip", ATT)
    found = row(doctor(), "att")
    assert (found["status"], found["images"], found["classes"]) == ("found", 2, 1)
    assert found["integrity"] == "first image read"
    assert str(root) not in doctor().to_csv()
    assert main(["doctor", "--root", str(root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SETS) + len(WEIGHTS)
    assert any(line.startswith("att ") and "2 images, 1 classes" in line for line in lines)


def test_the_brief_table_says_what_is_here_or_how_to_get_it(root):
    write_zip(root / "att_faces.zip", ATT)
    table = brief(doctor())
    assert list(table.columns) == ["set", "status", "pages", "what is here, or how to get it"]
    facts = table.set_index("set")["what is here, or how to get it"]
    assert facts["att"] == "att_faces.zip; 2 images, 1 classes; first image read"
    assert facts["cfp"] == row(doctor(), "cfp")["to get it"]


def test_a_corrupt_archive(root, capsys):
    write(root, {"att_faces.zip": b"no zip"})
    table = doctor()
    assert row(table, "att")["status"] == "corrupt"
    assert "att_faces.zip is not a readable zip" in row(table, "att")["integrity"]
    assert main(["doctor"]) == 1


def test_a_damaged_image_deep_inside_needs_full(root):
    write_zip(root / "att_faces.zip", ATT | {"att_faces/s1/2.pgm": ATT["att_faces/s1/2.pgm"][:200]})
    assert healthy(doctor())
    table = doctor(full=True)
    assert row(table, "att")["status"] == "corrupt"
    assert main(["doctor", "--full"]) == 1


def test_a_folder_says_that_its_images_are_read_on_use(root):
    write(root, ATT)
    assert row(doctor(), "att")["integrity"] == "first image read, the others on use"


def test_a_wrong_hash(root, monkeypatch):
    monkeypatch.setattr(archives, "KNOWN", {"att_faces.zip": archives.Known(1, "x", "0" * 64)})
    write_zip(root / "att_faces.zip", ATT)
    assert "SHA-256" in row(doctor(), "att")["integrity"]
    assert not healthy(doctor())


def test_a_damaged_companion(root):
    write(root, {"fer2013/train/happy/1.png": picture(1, (48, 48), "L"), "ferplus.zip": b"no zip"})
    assert row(doctor(), "fer2013")["status"] == "corrupt"


@pytest.mark.parametrize("words", [["doktor"], ["doctor", "--fast"], ["align", "photos"]])
def test_a_wrong_command_is_one_line(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_root(root, tmp_path, capsys):
    with pytest.raises(WorkbookError, match="is not a folder"):
        doctor(tmp_path / "none")
    assert main(["doctor", "--root", str(tmp_path / "none")]) == 2


@needs_data("lfw112.zip", "cfp112.zip", "london_ccby.zip")
def test_the_command_on_real_data():
    done = subprocess.run([sys.executable, "-m", "lib.data", "doctor"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("lfw "))
    assert "13233 images, 5749 classes" in line
    assert "pairs view2 6000" in line
    assert "SHA-256 as published" in line
