"""Grading a class."""

import time

import nbformat
import pandas as pd
import pytest

from lib.book import commands
from lib.book.exercises import starter_cells
from lib.book.grade import grade, only_imports
from lib.errors import WorkbookError
from lib.paths import NOTEBOOKS

IMPORTS = "import torch\nfrom lib.book.exercises import check, predict"
HANG = "# exercise\nwhile True:\n    pass"


def notebook(path, *sources, exercise=True):
    cells = [nbformat.v4.new_code_cell(IMPORTS), nbformat.v4.new_code_cell("raise SystemExit('not an exercise')")]
    tags = {"tags": ["exercise"]} if exercise else {}
    cells += [nbformat.v4.new_code_cell(source, metadata=tags) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_a_class_in_one_table(tmp_path):
    solved = (NOTEBOOKS / "solutions" / "02.py").read_text() + '\ncheck("02-1", project)\ncheck("02-2", online_step)'
    swapped = "def project(x, basis, mean, k):\n    return x\ncheck('02-1', project)"
    cheat = "check = lambda *_: None\ncheck('02-1', None)"
    stubs = [cell.source for cell in starter_cells("02") if cell.cell_type == "code"]
    (tmp_path / "broken.ipynb").write_text("{")
    paths = [
        notebook(tmp_path / "anna.ipynb", solved, "predict('02-p', 60)"),
        notebook(tmp_path / "bert.ipynb", swapped, HANG),
        notebook(tmp_path / "cleo.ipynb", *stubs),
        notebook(tmp_path / "dora.ipynb", cheat),
        tmp_path / "broken.ipynb",
    ]
    start = time.monotonic()
    table = grade(paths, tmp_path / "grades.csv", limit=15).set_index(pd.Index(["a", "b", "c", "d", "broken"]))
    assert time.monotonic() - start < 120
    assert table.loc["a", ["02-1", "02-2", "02-p", "right"]].tolist() == ["✓", "✓", "✓", 2]
    assert table.loc["b", ["02-1", "right", "remark"]].tolist() == ["✗", 0, "stopped after 15 s"]
    assert "02-1 " in table.loc["b", "hints"]
    assert table.loc["c", ["02-1", "02-2", "02-p"]].tolist() == ["○", "○", "○"]
    assert table.loc["d", "02-1"] == ""
    assert "no notebook" in table.loc["broken", "remark"]
    assert len(pd.read_csv(tmp_path / "grades.csv")) == 5


def test_cells_that_only_import():
    assert only_imports("import torch\nfrom a import b")
    assert not only_imports("import torch\nrun = 1")
    assert not only_imports("%matplotlib")
    assert not only_imports("")


def test_a_notebook_that_is_not_there(tmp_path):
    with pytest.raises(WorkbookError, match=r"there is no .*nobody\.ipynb"):
        grade([tmp_path / "nobody.ipynb"], tmp_path / "grades.csv")


def test_the_command_prints_the_table(tmp_path, monkeypatch, capsys):
    made = pd.DataFrame([{"notebook": "a.ipynb", "02-1": "✓", "right": 1, "remark": "", "hints": ""}])
    monkeypatch.setattr(commands, "grade", lambda *_: made)
    commands.execute(commands.parser().parse_args(["grade", "a.ipynb", "--out", str(tmp_path / "g.csv")]))
    assert "02-1" in capsys.readouterr().out
