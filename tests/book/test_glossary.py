"""The glossary explains every abbreviation of the pages' prose, and links to it lead somewhere."""

import re

import nbformat
import pytest

from lib.book.glossary import abbreviations, anchor, explained, terms
from lib.paths import NOTEBOOKS, ROOT

PAGES = sorted(NOTEBOOKS.glob("*.ipynb"))


def prose(path):
    return "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")


def test_what_an_abbreviation_is():
    text = "The EERs of PIN-2 (Table XIV), TAR@FAR and $ABC$, `DEF`, [x](GHI.md), https://JKL.org, SimCLR.\n"
    assert abbreviations(text + "## References\nMNO") == {"EER", "PIN", "TAR", "FAR", "CLR"} - {"CLR"}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_abbreviation_of_a_page_is_explained(path):
    assert not abbreviations(prose(path)) - explained()


def test_an_unknown_abbreviation_would_be_found():
    assert abbreviations("Then comes the QXZ.") - explained() == {"QXZ"}


def test_terms_are_plain_sentences_with_anchors_of_their_own():
    found = terms()
    assert len(found) >= 60
    assert len({anchor(term) for term in found}) == len(found)
    for term, text in found.items():
        assert text.endswith("."), term
        assert len(text.split()) >= 2, term


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_links_to_the_glossary_lead_to_a_term(path):
    known = {anchor(term) for term in terms()}
    linked = re.findall(r"GLOSSARY\.md#([\w-]+)", path.read_text(encoding="utf-8"))
    assert not set(linked) - known
