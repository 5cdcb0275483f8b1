import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from lib.book import run as run_module
from lib.book.plots import MAX_BYTES, panels, save_png, save_svg
from lib.book.run import per_profile, start
from lib.errors import WorkbookError
from lib.interval import Interval

SCALE = {"pairs": {"smoke": 40, "laptop": 400, "gpu": 6000, "paper": 6000}}


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "FIGURES", tmp_path / "figures")
    monkeypatch.setattr(run_module, "RUNS", tmp_path / "runs")
    return start("01_subspace_noise", profile="smoke", device="cpu")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"profile": "fast"}, "no profile 'fast'"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"seed": -1}, "seed is a whole number"),
        ({"seed": True}, "seed is a whole number"),
        ({"overrides": "pairs=3"}, "overrides is a dict"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        start("01_subspace_noise", **settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA, so asking for it is no error")
def test_missing_cuda():
    with pytest.raises(WorkbookError, match="finds no such GPU"):
        start("01_subspace_noise", profile="smoke", device="cuda")


def test_scale_and_overrides(page):
    assert page.scale(**SCALE).pairs == 40
    page.overrides = {"pairs": 7}
    assert page.scale(**SCALE).pairs == 7
    page.overrides = {"pears": 7}
    with pytest.raises(WorkbookError, match="no override 'pears'"):
        page.scale(**SCALE)
    page.overrides = {}
    with pytest.raises(WorkbookError, match="one value for each"):
        page.scale(pairs={"smoke": 1})


def test_seeding_repeats():
    draws = []
    for _ in range(2):
        start("01_subspace_noise", profile="smoke", device="cpu", seed=3)
        draws.append((torch.rand(2).tolist(), np.random.rand(2).tolist()))
    assert draws[0] == draws[1]


def test_ledger_of_a_page(page, tmp_path):
    page.record("pin", "Table XV", ("offline / PCA-200", "PGD"), Interval(20.0, 15.0, 25.0, n=400), "LFW")
    page.claim("pin-1", Interval(0.5, 0.4, 0.6))
    page.finish()
    stored = json.loads((tmp_path / "figures/smoke/01_subspace_noise/ledger.json").read_text())
    record, claim = stored["records"][0], stored["claims"][0]
    assert (record["paper"], record["unit"], record["verdict"]) == (22.93, "EER %", "agrees")
    assert claim["verdict"] == "replicated"
    assert {"seed", "device", "versions", "data", "scale"} <= set(stored["header"])
    assert stored["profile"] == "smoke"


def test_ledger_refuses_gaps(page):
    cell = ("offline / PCA-200", "PGD")
    with pytest.raises(WorkbookError, match="finite"):
        page.record("pin", "Table XV", cell, float("nan"))
    with pytest.raises(WorkbookError, match="give the reason"):
        page.record("pin", "Table XV", cell, None)
    with pytest.raises(WorkbookError, match="row of Table XV"):
        page.record("pin", "Table XV", ("offline / PCA-300", "PGD"), 1.0)
    with pytest.raises(WorkbookError, match="give the reason"):
        page.claim("pin-1", None)
    with pytest.raises(WorkbookError, match="not registered"):
        page.claim("pin-1z", None, "no data")
    with pytest.raises(WorkbookError, match="registered for page 02"):
        page.claim("pin-3", None, "no data")
    page.claim("pin-1", None, "no data")
    with pytest.raises(WorkbookError, match="judged twice"):
        page.claim("pin-1", None, "no data")


@pytest.mark.parametrize(
    ("usual", "given", "sentence"),
    [
        (40, "many", "'knob' is a whole number such as 40, not 'many'"),
        (40, 7.5, "is a whole number"),
        (40, True, "is a whole number"),
        (0.5, "high", "is a number such as 0.5"),
        ([0, 1], 3, r"is a list such as \[0, 1\], not 3"),
        ([0, 1], [0, "one"], "is a whole number such as 0"),
        ("half", 2, "is a word such as 'half'"),
    ],
)
def test_overrides_of_the_wrong_kind(page, usual, given, sentence):
    page.overrides = {"knob": given}
    with pytest.raises(WorkbookError, match=sentence):
        page.scale(knob=per_profile(usual, usual, usual, usual))


def test_overrides_of_the_right_kind(page):
    page.overrides = {"count": 3, "rate": 1, "seeds": [4, 5, 6]}
    alike = {name: per_profile(value, value, value, value) for name, value in EXAMPLES.items()}
    assert vars(page.scale(**alike)) == page.overrides


EXAMPLES = {"count": 40, "rate": 0.5, "seeds": [0, 1]}


@pytest.mark.parametrize("changed", [{"overrides": {"pairs": 2}}, {"data": "embedded"}, {"seed": 1}])
def test_changed_settings_never_touch_figures(changed):
    page = start("01_subspace_noise", profile="laptop", device="cpu", **changed)
    assert "custom" in page.folder.parts


@pytest.fixture
def seen(monkeypatch):
    """What a page displays, as HTML or Markdown."""
    found = []
    monkeypatch.setattr(run_module, "display", lambda *outputs: found.extend(outputs))
    return found


def test_drawings_are_svg_and_photographs_png(page, seen):
    plt.close("all")  # what other tests have left open
    for name, photograph in (("line", None), ("faces", None), ("heat", False)):
        figure, axes = panels(1, 1)
        axes[0, 0].plot([0, 1]) if name == "line" else axes[0, 0].imshow(np.eye(3))
        page.figure(figure, name, 'A *line* from "0" to $x$.', photograph)
    assert sorted(path.name for path in page.folder.iterdir()) == ["faces.png", "heat.svg", "line.svg"]
    assert not plt.get_fignums()
    picture = seen[0]
    assert 'alt="A line from &quot;0&quot; to x."' in picture.data
    assert "data:image/svg+xml;base64," in picture.data
    assert picture.metadata == {"legend_points": 10.0, "legend_entries": 0}


def test_an_svg_is_the_same_bytes_twice_and_replaces_an_older_png(page, seen):
    page.folder.mkdir(parents=True)
    (page.folder / "line.png").write_bytes(b"old")
    written = []
    for _ in range(2):
        figure, axes = panels(1, 1)
        axes[0, 0].fill_between([0, 1], [0, 0], [1, 1], label="a")
        axes[0, 0].legend(fontsize=8)
        page.figure(figure, "line", "A line.")
        written.append((page.folder / "line.svg").read_bytes())
    assert written[0] == written[1]
    assert not (page.folder / "line.png").exists()
    assert seen[0].metadata == {"legend_points": 8.0, "legend_entries": 1}


def test_a_cloud_of_points_stays_light(tmp_path):
    figure, axes = panels(1, 1)
    cloud = np.random.default_rng(0).random((2, 4_000))
    axes[0, 0].scatter(*cloud, s=2)
    assert len(save_svg(figure, tmp_path / "cloud.svg")) <= MAX_BYTES


def test_a_long_table_shows_ten_rows_and_a_link_to_the_rest(page, seen):
    page.table(pd.DataFrame({"a": range(12)}), "numbers", "Numbers.")
    page.table(pd.DataFrame({"a": range(12)}), "numbers", "Numbers.", full=True)
    page.table(pd.DataFrame({"a": [1.5]}), "short", "Short.")
    short, long, brief = (table.data for table in seen)
    assert "The first 10 of 12 rows" in short
    assert short.count("<tr>") == 11
    assert 'numbers.csv">numbers.csv</a>' in short
    assert long.count("<tr>") == 13
    assert "rows" not in brief
    assert (page.folder / "numbers.csv").read_text().count("\n") == 13
    assert (page.folder / "short.csv").read_text() == "a\n1.5\n"


def test_heavy_pictures_are_made_light(tmp_path):
    figure, axes = panels(1, 1, height=6)
    axes[0, 0].imshow(np.random.default_rng(0).random((900, 900, 3)))
    assert len(save_png(figure, tmp_path / "noise.png")) <= MAX_BYTES


def test_unknown_injected_parameter(monkeypatch):
    class Shell:
        user_ns = {"In": ["", "# Parameters\nprofile = 'smoke'\npears = 3\n"]}

    class IPython:
        get_ipython = staticmethod(Shell)

    monkeypatch.setitem(run_module.sys.modules, "IPython", IPython)
    with pytest.raises(WorkbookError, match="no parameter 'pears'"):
        run_module.refuse_unknown_parameters()
