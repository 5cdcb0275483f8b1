import re

import ipywidgets
import nbformat
import numpy as np
import pytest
from matplotlib import pyplot as plt

from lib.book import widgets
from lib.book.run import start
from lib.book.widgets import Knob, interactive_picture, keep_grid, knobs, stored_grid
from lib.errors import WorkbookError
from lib.paths import FIGURES, NOTEBOOKS

CONTROL = Knob("eigenvectors", [50, 200, 2000], start=200)


@pytest.fixture
def page(monkeypatch, tmp_path):
    page = start("02_pca_toy", profile="smoke", device="cpu")
    page.folder = tmp_path / "smoke" / "02_pca_toy"
    monkeypatch.setattr(widgets, "FIGURES", tmp_path)
    return page


@pytest.fixture
def shown(monkeypatch, page):
    found = {"figures": [], "displays": []}
    monkeypatch.setattr(page, "figure", lambda figure, name, caption: found["figures"].append((name, caption)))
    monkeypatch.setattr(widgets, "display", found["displays"].append)
    return found


@pytest.fixture
def somebody(monkeypatch):
    monkeypatch.setattr(widgets, "in_kernel", lambda: True)
    monkeypatch.setenv("WORKBOOK_WIDGETS", "1")


def draw(k: int = 3):
    figure, axes = plt.subplots()
    axes.set_title(f"k = {k}")
    return figure


def test_headless_pages_show_one_picture(page, shown, monkeypatch):
    monkeypatch.setattr(widgets, "in_kernel", lambda: True)
    for name in ("WORKBOOK_WIDGETS", *widgets.LIVE):
        monkeypatch.delenv(name, raising=False)
    drawn = []
    knobs(page, lambda k: drawn.append(k) or draw(k), "explore", "A caption.", k=CONTROL)
    assert drawn == [200]
    assert shown == {"figures": [("explore", "A caption.")], "displays": []}


def test_live_pages_get_knobs_and_no_second_figure(page, shown, somebody):
    knobs(page, draw, "explore", "A caption.", k=CONTROL)
    assert not shown["figures"]
    assert (page.folder / "explore.svg").exists()
    picture, box, caption = shown["displays"]
    assert "svg" in picture.data
    assert isinstance(box, ipywidgets.interactive)
    assert caption.data == "*A caption.*"
    assert not plt.get_fignums()


def test_a_knob_is_released_before_it_redraws_and_shows_its_unit():
    knob = Knob("intensity", [0.01, 0.04], "of the norm", 0.04)
    box = interactive_picture(draw, {"k": knob, "attack": Knob("attack", ["FGSM", "PGD"])}, "A caption.")
    slider, choice = box.children[:2]
    assert slider.continuous_update is False
    assert slider.description == "intensity"
    assert slider.label == "0.04 of the norm"
    assert slider.value == 0.04
    assert choice.options == (("FGSM", "FGSM"), ("PGD", "PGD"))


def test_turning_a_knob_replaces_the_picture(monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "display", seen.append)
    box = interactive_picture(draw, {"k": CONTROL}, "A caption.")
    box.children[0].value = 2000
    assert len(seen) == 2
    assert box.clear_output
    assert seen[0].data != seen[1].data
    assert 'alt="A caption."' in seen[1].data
    assert not plt.get_fignums()


def test_plain_ranges_still_work(page, shown, somebody):
    knobs(page, draw, "explore", "A caption.", k=(1, 9, 2))
    slider = shown["displays"][1].children[0]
    assert [value for _, value in slider.options] == [1, 3, 5, 7, 9]
    assert slider.value == 3


def test_a_grid_comes_back_and_needs_no_data(page):
    keep_grid(page, "grid", k=[50, 200], eer=np.array([[1.23456, 2.0], [3.0, 4.0]]), credit="by whom")
    again = stored_grid(page, "grid")
    assert again["eer"].tolist() == [[1.235, 2.0], [3.0, 4.0]]
    assert str(again["credit"]) == "by whom"
    with pytest.raises(WorkbookError, match="run the page first"):
        stored_grid(page, "another")
    with pytest.raises(WorkbookError, match="fewer values"):
        keep_grid(page, "grid", eer=np.random.default_rng(0).random(30_000))


def test_a_run_that_measured_nothing_takes_the_committed_grid_and_says_so(page, capsys):
    own = page.folder
    page.folder = widgets.FIGURES / "laptop" / page.page
    keep_grid(page, "grid", k=[50])
    page.folder = own
    assert stored_grid(page, "grid")["k"].tolist() == [50]
    assert "those of the stored page" in capsys.readouterr().out
    keep_grid(page, "grid", k=[20])
    assert stored_grid(page, "grid")["k"].tolist() == [20]
    assert not capsys.readouterr().out


@pytest.mark.parametrize("name", ["00_start_here", "01_subspace_noise", "02_pca_toy"])
def test_the_knobs_of_a_page_need_only_its_first_cells(name, shown, somebody):
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    knobs_at = next(at for at, source in enumerate(code) if re.search(r"^knobs\(", source, re.MULTILINE))
    grid_at = next(at for at, source in enumerate(code) if "stored_grid(" in source and "import" not in source)
    imports = [line for source in code[:2] for line in source.split("\n\n")]
    space = {}
    exec("\n".join(part for part in imports if "start(" not in part), space)
    run = start(name, profile="laptop", device="cpu")
    run.folder = FIGURES / "laptop" / name  # where the committed grid lies
    space |= {"run": run, "knobs": lambda run, draw, *_, **controls: shown["figures"].append((draw, controls))}
    for source in code[grid_at : knobs_at + 1]:
        exec(source, space)
    ((draw, controls),) = shown["figures"]
    assert draw(**{key: knob.default for key, knob in controls.items()}).axes
    plt.close("all")
