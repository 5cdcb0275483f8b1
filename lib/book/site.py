"""The HTML book: a site of the stored notebooks, built without running them. Needs the extra `html` (`make html`).

Nothing in it asks the network: mathematics becomes MathML while the site is built, search is Sphinx's own, and the
theme's files lie beside the pages. This module is also the Sphinx extension that does the mathematics.
"""

import html
import re
import shutil
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lib.book import scoreboard
from lib.book.contents import PAGES, Page
from lib.errors import WorkbookError
from lib.paths import FIGURES, NOTEBOOKS, ROOT

TITLE = "Adversarially robust faces and self-supervised learning"
SHOWN = "laptop"  # the profile whose figures the stored pages show
LINKS = [  # from what a link says in the checkout to where it leads in the site
    (r"(?:\.\./notebooks/|notebooks/)?(\d\d_\w+)\.ipynb", r"\1.html"),
    (r"(?:\.\./)?GLOSSARY\.md", "glossary.html"),
    (r"(?:\.\./)?figures/scoreboard\.(?:html|md)", "scoreboard.html"),
    (r"\.\./figures/", "figures/"),
]
CONFIGURATION = {
    "project": TITLE,
    "extensions": ["myst_nb", "lib.book.site"],
    "html_theme": "sphinx_book_theme",
    "html_title": "The workbook",
    "html_theme_options": {
        "use_download_button": False,
        "use_fullscreen_button": False,
        "show_toc_level": 2,
        "navbar_persistent": [],
    },
    "html_extra_path": ["extra"],
    "html_show_sourcelink": False,
    "html_copy_source": False,
    "html_math_renderer": "mathml",
    "nb_execution_mode": "off",
    "nb_ipywidgets_js": {},
    "nb_render_markdown_format": "myst",
    "nb_mime_priority_overrides": [("html", "text/html", 0)],
    "myst_enable_extensions": ["dollarmath", "amsmath"],
    "myst_heading_anchors": 3,
    "suppress_warnings": ["mystnb.unknown_mime_type", "myst.header", "misc.highlighting_failure"],
    "language": "en",
}


def build(out: Path) -> Path:
    """Build the site in the folder `out` from the stored notebooks; returns the path of its first page."""
    try:
        from sphinx.application import Sphinx
    except ImportError:
        raise WorkbookError(
            "The HTML book needs the packages of the extra 'html': `make html` installs them."
        ) from None
    out = out.resolve()
    source = out.parent / f"{out.name}-source"
    site = out
    for folder in (source, site):
        shutil.rmtree(folder, ignore_errors=True)
    write_source(source)
    with (source / "log.txt").open("w", encoding="utf-8") as log:
        settings = {"confoverrides": CONFIGURATION, "status": None, "warning": log}
        app = Sphinx(source, None, site, source / ".doctrees", "html", **settings)
        app.build()
    if app.statuscode:
        raise WorkbookError(f"The site was not built: see {source / 'log.txt'}.")
    return site / "index.html"


def write_source(source: Path) -> None:
    """Lay out what Sphinx reads: the pages with their links turned, glossary, scoreboard, and figures as they are."""
    written = [page for page in PAGES if page.written]
    extra = source / "extra"
    (extra / "notebooks").mkdir(parents=True)
    for page in written:
        stored = NOTEBOOKS / f"{page.name}.ipynb"
        nbformat.write(turned(nbformat.read(stored, as_version=4), page), source / stored.name)
        shutil.copy(stored, extra / "notebooks" / stored.name)
        if (FIGURES / SHOWN / page.name).exists():
            shutil.copytree(FIGURES / SHOWN / page.name, extra / "figures" / SHOWN / page.name)
    found = scoreboard.ledgers(scoreboard.EVIDENCE)
    board = scoreboard.web_page(found, scoreboard.REAL).replace("href='laptop/", f"href='figures/{SHOWN}/")
    (extra / "scoreboard_full.html").write_text(listed_folders(turn(board)), encoding="utf-8")
    short = scoreboard.markdown(found, scoreboard.REAL).replace(
        "scoreboard.html", '<a href="scoreboard_full.html">the whole scoreboard</a>'
    )
    (source / "scoreboard.md").write_text(short, encoding="utf-8")
    (source / "glossary.md").write_text(turn((ROOT / "GLOSSARY.md").read_text(encoding="utf-8")), encoding="utf-8")
    (source / "index.md").write_text(index(written), encoding="utf-8")


def index(written: list[Page]) -> str:
    """The first page: what the book is, and the contents on the left."""
    names = "\n".join(page.name for page in written)
    return (
        f"# {TITLE}\n\nA workbook that replicates five sources, notebook by notebook: every number that a source "
        "prints stands beside the number measured here, with its setting, its uncertainty and a verdict.\n\n"
        f"Begin with [the first page]({written[0].name}.ipynb), or look at [the scoreboard](scoreboard.md). Every "
        "term is explained in the [glossary](glossary.md).\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\nscoreboard\nglossary\n```\n"
    )


def turned(book: NotebookNode, page: Page) -> NotebookNode:
    """A stored page with its links turned to the site's, and at its end links to its sources."""
    for cell in book.cells:
        if cell.cell_type == "markdown":
            cell.source = turn(cell.source)
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            for kind in ("text/html", "text/markdown"):
                if kind in data:
                    data[kind] = turn(data[kind])
    book.cells.append(nbformat.v4.new_markdown_cell(sources_of(page)))
    return book


def turn(text: str) -> str:
    """Links of the checkout, in Markdown or HTML, turned to the site's."""

    def replace(match: re.Match) -> str:
        target = match[2]
        for pattern, new in LINKS:
            target = re.sub(rf"^{pattern}", new, target)
        if match[1] == "](":  # a Markdown link names the source, of which Sphinx knows the page and its anchors
            target = re.sub(
                r"^(\d\d_\w+)\.html", r"\1.ipynb", re.sub(r"^(glossary|scoreboard)\.html", r"\1.md", target)
            )
        return f"{match[1]}{target}{match[3]}"

    text = re.sub(r"""(href=["'])([^"']*)(["'])""", replace, text)
    return re.sub(r"(\]\()([^)\s]*)(\))", replace, text)


def listed_folders(text: str) -> str:
    """Links to a folder of figures lead to the list at the end of its page: a site on disk lists no folders."""
    return re.sub(r"figures/\w+/(\d\d_\w+)/(?=[\"'])", r"\1.html#sources-of-this-page", text)


def sources_of(page: Page) -> str:
    """The last section of a page in the site: its notebook, and the files of its figures and tables."""
    folder = FIGURES / SHOWN / page.name
    files = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    links = [f'<a href="figures/{SHOWN}/{page.name}/{html.escape(name)}">{html.escape(name)}</a>' for name in files]
    notebook = f'<a href="notebooks/{page.name}.ipynb">{page.name}.ipynb</a>'
    return f"## Sources of this page\n\nThe notebook: {notebook}. Its figures and tables: {', '.join(links) or 'none'}."


def mathml(latex: str, display: str) -> str:
    """LaTeX as MathML, which browsers draw by themselves. display: 'inline' or 'block'."""
    from latex2mathml.converter import convert

    made = convert(latex.replace(r"\arg", r"\text{arg}\,"), display=display)
    unknown = re.findall(r"<mi>\\(\w+)</mi>", made)
    if unknown:
        raise WorkbookError(f"The HTML book cannot draw \\{unknown[0]} in the formula {latex}: write it otherwise.")
    return made


def setup(app: object) -> dict[str, bool]:
    """Register the renderer of formulas with Sphinx."""
    from docutils.nodes import SkipNode

    def inline(writer: object, node: object) -> None:
        writer.body.append(mathml(node.astext(), "inline"))
        raise SkipNode

    def block(writer: object, node: object) -> None:
        # not of the class `math`: the theme lays that out for numbered formulas, which drives ours to the right
        style = "overflow-x: auto; margin: 1em 0"
        writer.body.append(f'<div style="{style}">{mathml(node.astext(), "block")}</div>')
        raise SkipNode

    app.add_html_math_renderer("mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
