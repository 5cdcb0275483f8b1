"""Every page runs at the smoke profile under nbval, and every stored page is fit to be read.

nbval compares outputs only in cells tagged `nbval-check-output`: those whose output is exact at every profile.
"""

import re
import subprocess
import sys

import nbformat
import pytest
from torchvision.utils import save_image

from lib.book.commands import KERNEL
from lib.book.run import PARAMETERS
from lib.data import load
from lib.errors import MissingData, WorkbookError
from lib.paths import NOTEBOOKS, ROOT

PAGES = sorted(NOTEBOOKS.glob("*.ipynb"))
SIZE = 1_500_000  # bytes of a stored page
CELL = 40  # lines


def stored(path):
    return nbformat.read(path, as_version=4)


def code(path):
    return [cell for cell in stored(path).cells if cell.cell_type == "code"]


def at_smoke(path, folder):
    """A copy of the page whose parameters ask for the rehearsal."""
    page = stored(path)
    tagged = next(at for at, cell in enumerate(page.cells) if "parameters" in cell.metadata.get("tags", []))
    page.cells.insert(tagged + 1, nbformat.v4.new_code_cell("profile = 'smoke'\ndevice = 'cpu'"))
    copy = folder / path.name
    nbformat.write(page, copy)
    return copy


@pytest.mark.notebook
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_runs_at_smoke(path, tmp_path):
    copy = at_smoke(path, tmp_path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
    ]
    done = subprocess.run([*command, str(copy)], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A folder of 20 people with 3 crops each, drawn by the procedural generator."""
    faces = load("procedural", people=20, per_person=3)
    base = tmp_path_factory.mktemp("own") / "mine"
    for at, label in enumerate(faces.labels.tolist()):
        (base / f"p{label}").mkdir(parents=True, exist_ok=True)
        save_image(faces.images([at])[0], base / f"p{label}" / f"{at}.png")
    return base


@pytest.mark.notebook
@pytest.mark.parametrize("path", PAGES[:3], ids=lambda path: path.stem)
def test_runs_on_one_own_faces(path, own, tmp_path):
    code, last = papermill(path, tmp_path, "-p", "profile", "smoke", "-p", "data", f"folder:{own}")
    assert code == 0, last
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    printed = "".join(out.text for cell in executed.cells for out in cell.get("outputs", []) if "text" in out)
    assert "uses folder: mine" in printed
    assert f"ledger written: runs/custom/smoke/{path.stem}/ledger.json" in printed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_is_fit_to_be_read(path):
    cells = code(path)
    parameters = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    names = [line.split("=")[0].strip() for line in parameters.source.splitlines()]
    assert tuple(names) == PARAMETERS
    assert "profile = 'laptop'" in parameters.source.replace('"', "'")
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs, "stored without outputs"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert max(len(cell.source.splitlines()) for cell in cells) <= CELL
    assert path.stat().st_size < SIZE
    assert stored(path).metadata["kernelspec"] == KERNEL  # else JupyterLab opens it as already modified
    assert any("nbval-check-output" in cell.metadata.get("tags", []) for cell in cells)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_has_the_order_of_a_page(path):
    text = "\n".join(cell.source for cell in stored(path).cells)
    first = ["run = start(", "run.answer()"]  # the answer comes first
    if "run.answer()" not in text:  # a page in the older form
        first = ["What you will learn", "Run time", "run = start("]
    rest = ["Paper against ours", "run.finish()", "What this shows, and what it does not", "Exercises", "References"]
    places = [text.rfind(part) for part in [*first, *rest]]
    assert text.startswith("# ")
    assert -1 not in places
    assert places == sorted(places)


def test_pictures_are_light():
    heavy = [path.name for path in (ROOT / "figures").rglob("*.png") if path.stat().st_size > 200_000]
    assert not heavy


def papermill(page, folder, *parameters, **environment):
    import os

    out = folder / "out.ipynb"
    command = [sys.executable, "-m", "papermill", str(page), str(out), *parameters]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=os.environ | environment)
    return done.returncode, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        (("-p", "profile", "smoke", "-p", "pears", "3"), "There is no parameter 'pears'"),
        (("-p", "profile", "smoke", "-y", "overrides: {pears: 3}"), "There is no override 'pears'"),
        (("-p", "profile", "laptop", "-p", "data", "cfp"), "profile='smoke' or data='embedded'"),
    ],
)
def test_papermill_ends_in_one_sentence(parameters, sentence, tmp_path):
    """From any folder, with no data: the last line is the book's sentence and the exit code is not zero."""
    code, last = papermill(NOTEBOOKS / "01_subspace_noise.ipynb", tmp_path, *parameters, WORKBOOK_DATA=str(tmp_path))
    assert code != 0
    assert re.match(f"{WorkbookError.__name__}|{MissingData.__name__}", last)
    assert sentence in last
