import pytest
from matplotlib import pyplot as plt

from lib.book import widgets
from lib.book.run import start


@pytest.fixture
def page(monkeypatch):
    page = start("02_pca_toy", profile="smoke", device="cpu")
    drawn = []
    monkeypatch.setattr(page, "figure", lambda figure, name, caption: drawn.append((name, caption)))
    return page, drawn


def draw(k: int = 3):
    return plt.figure()


def test_headless_pages_show_one_picture(page, monkeypatch):
    monkeypatch.setattr(widgets, "in_kernel", lambda: True)
    monkeypatch.delenv("WORKBOOK_WIDGETS", raising=False)
    for name in widgets.LIVE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("ipywidgets.interact_manual", lambda *_, **__: pytest.fail("a slider in a headless page"))
    widgets.knobs(page[0], draw, "explore", "A caption.", k=(1, 9, 1))
    assert page[1] == [("explore", "A caption.")]


def test_live_pages_get_sliders_too(page, monkeypatch):
    sliders = {}
    monkeypatch.setattr(widgets, "in_kernel", lambda: True)
    monkeypatch.setenv("WORKBOOK_WIDGETS", "1")
    monkeypatch.setattr("ipywidgets.interact_manual", lambda redraw, **ranges: sliders.update(ranges))
    widgets.knobs(page[0], draw, "explore", "A caption.", k=(1, 9, 1))
    assert sliders == {"k": (1, 9, 1)}
    assert len(page[1]) == 1
