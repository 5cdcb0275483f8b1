"""The HTML book: links turned, mathematics drawn while building, every link leading somewhere, a page in a browser."""

import importlib.util
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from lib.book import site
from lib.book.contents import PAGES
from lib.errors import WorkbookError
from lib.paths import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALLED = all(importlib.util.find_spec(name) for name in ("myst_nb", "sphinx_book_theme", "latex2mathml"))
needs_html = pytest.mark.skipif(not INSTALLED, reason="the extra 'html' is not installed (make html)")
WRITTEN = [page for page in PAGES if page.written]


class Links(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors |= {found[key] for key in ("id", "name") if found.get(key)}
        self.links += [found[key] for key in ("href", "src") if found.get(key)]


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return site.build(tmp_path_factory.mktemp("site") / "html").parent


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("[a](../GLOSSARY.md#eer)", "[a](glossary.md#eer)"),
        ('<a href="02_pca_toy.ipynb">', '<a href="02_pca_toy.html">'),
        ("<a href='../notebooks/02_pca_toy.ipynb'>", "<a href='02_pca_toy.html'>"),
        ('<a href="../figures/laptop/02_pca_toy/x.csv">', '<a href="figures/laptop/02_pca_toy/x.csv">'),
        ("[a](https://a.org/01_x.ipynb)", "[a](https://a.org/01_x.ipynb)"),
        ("papermill notebooks/01_subspace_noise.ipynb", "papermill notebooks/01_subspace_noise.ipynb"),
    ],
)
def test_links_are_turned(text, turned):
    assert site.turn(text) == turned


def test_without_the_extra_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "sphinx.application", None)
    with pytest.raises(WorkbookError, match="make html"):
        site.build(tmp_path / "html")


@needs_html
def test_formulas_become_mathml():
    assert "<mfrac>" in site.mathml(r"\frac{1}{d}", "inline")
    assert "arg" in site.mathml(r"h = \arg\max_j z_j", "block")
    with pytest.raises(WorkbookError, match="cannot draw"):
        site.mathml(r"\unheardof{x}", "inline")


@needs_html
def test_every_link_leads_somewhere(book):
    pages = {path: Links(path) for path in book.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            inside = target in pages and parts.fragment and unquote(parts.fragment) not in pages[target].anchors
            if not target.is_file() or (inside and path.name != "scoreboard_full.html"):
                broken.append(f"{path.name} -> {link}")
    assert not broken


@needs_html
def test_the_site_is_whole_and_asks_no_network(book):
    first = (book / "index.html").read_text()
    for page in WRITTEN:
        assert f'href="{page.name}.html"' in first
        text = (book / f"{page.name}.html").read_text()
        assert 'title="previous page"' in text
        assert 'title="next page"' in text
        assert "Sources of this page" in text
    assert "<math" in (book / "02_pca_toy.html").read_text()
    assert (book / "searchindex.js").exists()
    for path in book.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"((?:https?:)?//[^\"]+)", path.read_text())
        assert not loaded, path.name
    assert "replicated" in (book / "scoreboard.html").read_text()


@needs_html
def test_a_page_opens_in_a_real_browser(book, tmp_path):
    browser = next((shutil.which(name) for name in BROWSERS if shutil.which(name)), None)
    if browser is None:
        pytest.skip(f"no browser here, looked for {', '.join(BROWSERS)}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    page = (book / "02_pca_toy.html").as_uri()
    command = [browser, *flags, "--virtual-time-budget=3000", "--dump-dom", page]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=90).stdout
    assert "02 · Projection on eigenvectors" in drawn
    assert drawn.count("<math") > 10


def test_the_makefile_installs_what_the_site_needs():
    assert ".[html]" in Path(ROOT / "Makefile").read_text()
