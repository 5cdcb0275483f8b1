import json
import re

import pytest

from lib.book.contents import PAGES
from lib.book.ledger import judge, read_ledger
from lib.errors import WorkbookError
from lib.papers import registered_claim, registered_claims, sources
from lib.paths import FIGURES, NOTEBOOKS

WRITTEN = [page for page in PAGES if page.written]
LEDGERS = sorted(FIGURES.glob("laptop/*/ledger.json"))


def test_each_claim_stands_on_a_page_of_the_book():
    numbers = {page.number for page in PAGES}
    for claim in registered_claims().values():
        assert claim.page in numbers
        assert claim.claim.endswith(".")
    kinds = {claim.kind for claim in registered_claims().values()}
    assert kinds == {"source", "critique", "check"}


def test_a_source_claim_says_what_its_source_says_on_a_page_of_it():
    pages = {number[:2] for source in sources().values() for number in source["notebooks"]}
    assert {claim.page for claim in registered_claims().values() if claim.kind == "source"} <= pages


@pytest.mark.parametrize("claim", registered_claims().values(), ids=lambda claim: claim.id)
def test_each_claim_can_fail_and_can_hold(claim):
    sign, bound = claim.condition
    holds = bound if "=" in sign else bound + (1 if sign == ">" else -1)
    fails = bound + (claim.margin + 1 if sign == "=" else -1 if sign[0] == ">" else 1)
    good, bad = judge((holds, holds), claim), judge((fails, fails), claim)
    assert (good, bad) in (("replicated", "not replicated"), ("supported", "refuted"), ("passed", "failed"))


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.parent.name)
def test_a_page_judges_every_registered_claim_and_no_other(path):
    book = read_ledger(path)
    registered = [claim.id for claim in registered_claims().values() if claim.page == book.page[:2]]
    assert sorted(claim.id for claim in book.claims) == sorted(registered)


@pytest.mark.parametrize("path", LEDGERS, ids=lambda path: path.parent.name)
def test_stored_verdicts_are_those_of_the_register(path):
    for claim in read_ledger(path).claims:
        registered = registered_claim(claim.id)
        assert (claim.expected, claim.margin, claim.kind) == (registered.expected, registered.margin, registered.kind)
        assert claim.verdict == judge(claim.interval and tuple(claim.interval), registered)


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_pages_hand_over_intervals_only(page):
    """A page names no expectation: that would be a claim whose bound is chosen after the measurement."""
    cells = json.loads((NOTEBOOKS / f"{page.name}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert not re.search(r"run\.claim\([^)]*\"[<>=]", code)


def test_an_unknown_claim_is_told():
    with pytest.raises(WorkbookError, match="not registered"):
        registered_claim("pin-999")
