"""The command line of the book, and the graph that drives it."""

import os
import subprocess
import sys

import nbformat
import pytest

from lib.book import commands as book
from lib.book.contents import PAGES
from lib.errors import WorkbookError
from lib.paths import NOTEBOOKS, ROOT

WRITTEN = [f"{page.number}_" for page in PAGES if page.written]
PAGE = """
from lib.book.run import start
run = start("01_subspace_noise", profile=profile, device=device, seed=seed, data=data, overrides=overrides)
print("ran", profile)
"""


@pytest.fixture
def tiny_page(tmp_path, monkeypatch):
    """A page of two cells, in place of the real ones."""
    parameters = "profile = 'laptop'\ndevice = 'auto'\nseed = 0\ndata = 'auto'\noverrides = {}"
    cells = [nbformat.v4.new_code_cell(parameters), nbformat.v4.new_code_cell(PAGE)]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "01_subspace_noise.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    monkeypatch.setattr(book, "page_path", lambda name: path)
    monkeypatch.setattr(book, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(book, "RUNS", ROOT / "runs")
    return path


def settings(**changed):
    return {"profile": "smoke", "device": "cpu", "seed": 0, "data": "auto"} | changed


def test_run_and_publish(tiny_page, tmp_path, monkeypatch):
    monkeypatch.setattr(book, "RUNS", tmp_path / "runs")
    out = book.run_page("01", tmp_path / "runs" / "smoke" / tiny_page.name, **settings())
    assert "ran smoke" in out.read_text()
    book.publish("01", "smoke")
    published = nbformat.read(tiny_page, as_version=4)
    assert len(published.cells) == 2
    assert "papermill" not in published.metadata
    assert "ran smoke" in published.cells[1].outputs[0].text


def test_a_failing_page_leaves_no_output_and_one_sentence(tiny_page, tmp_path):
    out = tmp_path / "out.ipynb"
    with pytest.raises(WorkbookError, match="no parameter 'pairz'") as caught:
        book.run_page("01", out, **settings(pairz=3))
    assert "\n" not in str(caught.value)
    assert not out.exists()


def test_unknown_profile_and_page(tmp_path):
    with pytest.raises(WorkbookError, match="no profile 'fast'"):
        book.run_page("01", tmp_path / "out.ipynb", **settings(profile="fast"))
    with pytest.raises(WorkbookError, match="no page '99'"):
        book.page_path("99")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "99"], "error: There is no page '99' yet"),
        (["run", "01", "--profile", "fast"], "error: There is no profile 'fast'"),
    ],
)
def test_the_command_line_ends_in_one_sentence(arguments, sentence):
    done = subprocess.run([sys.executable, "-m", "lib.book", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert len(done.stderr.strip().splitlines()) == 1


def snakemake(*arguments):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "--dry-run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})


def test_the_graph_has_one_job_a_page():
    done = snakemake("--forceall", "--config", "profile=smoke", "pages=01 02")
    assert done.returncode == 0, done.stderr
    assert "runs/smoke/01_subspace_noise.ipynb" in done.stdout + done.stderr
    assert "runs/smoke/00_start_here.ipynb" not in done.stdout + done.stderr


@pytest.mark.parametrize(("pages", "jobs"), [("", WRITTEN), ("01", ["01_"]), ("02_pca_toy", ["02_"])])
def test_pages_may_be_none_a_number_or_a_name(pages, jobs):
    done = snakemake("--forceall", "--config", "profile=smoke", f"pages={pages}")
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert [name for name in WRITTEN if f"runs/smoke/{name}" in log] == jobs


def test_the_graph_refuses_unknown_pages():
    done = snakemake("--config", "profile=smoke", "pages=77")
    assert done.returncode != 0
    assert "There is no page '77' yet" in done.stdout + done.stderr


def test_every_notebook_is_in_the_contents():
    stray = {path.stem for path in NOTEBOOKS.glob("*.ipynb")} - {page.name for page in PAGES}
    assert not stray
    assert [page.number for page in PAGES] == sorted(page.number for page in PAGES)


def test_bookkeeping_cells_are_folded_and_tags_stay():
    tags = ("hide-input", "exercise")
    cells = [nbformat.v4.new_code_cell("x", metadata={"tags": [tag], "execution": {}}) for tag in tags]
    made = book.cleaned(nbformat.v4.new_notebook(cells=cells))
    assert made.cells[0].metadata == {"tags": ["hide-input"], "jupyter": {"source_hidden": True}}
    assert made.cells[1].metadata == {"tags": ["exercise"]}
