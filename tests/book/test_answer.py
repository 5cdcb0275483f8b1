"""The answer box."""

import re

import pytest

from lib.book import answer
from lib.book.answer import answer_box, why
from lib.book.contents import PAGES, about, neighbours
from lib.book.ledger import JudgedClaim, Ledger, judged_claim
from lib.errors import WorkbookError
from lib.interval import Interval
from lib.papers import printed, registered_claim
from lib.paths import FIGURES

WRITTEN = [page.name for page in PAGES if page.written]


@pytest.mark.parametrize("page", WRITTEN)
def test_every_written_page_has_a_whole_box(page):
    box = answer_box(page, "laptop")
    for line in ("Question", "How it was tested", "What the source prints", "What we measured", "Verdict, and why"):
        assert line in box
    assert not re.search(r"<style|<script|\sid=|\sclass=", box)
    entry = about(page)
    assert all(registered_claim(id).page == page[:2] for id in entry.headline)
    assert all(printed(*cell) for cell in entry.cells)
    assert 1 <= len(entry.headline) <= 4
    assert "GLOSSARY.md" in box
    assert "Nothing yet" not in box


@pytest.mark.parametrize("page", WRITTEN)
def test_the_numbers_come_from_the_ledger(page):
    ledger = answer.last_ledger(page, "laptop")
    box = answer_box(page, "laptop")
    for claim in ledger.claims:
        if claim.id in about(page).headline:
            assert f"{answer.number(claim.effect)}</b>" in box
            assert claim.verdict in box


def test_a_new_ledger_changes_the_box_and_none_falls_back(tmp_path):
    book = Ledger("01_subspace_noise", "gpu", {"data": ["lfw"]})
    book.claims.append(judged_claim(registered_claim("pin-1"), Interval(1.234, 1.1, 1.4)))
    book.write(tmp_path / "ledger.json")
    box = answer_box("01_subspace_noise", "gpu", tmp_path)
    assert "<b>1.234</b> [1.1, 1.4]" in box
    assert "none of [1.1, 1.4] fulfils &lt; 1" in box
    assert "not replicated" in box
    assert answer_box("01_subspace_noise", "gpu", tmp_path / "none") == answer_box("01_subspace_noise", "laptop")


def test_a_page_that_never_ran_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(answer, "FIGURES", tmp_path)
    assert "Nothing yet: run this page." in answer_box("01_subspace_noise", "laptop")


def test_a_rehearsal_is_no_evidence(tmp_path):
    Ledger("01_subspace_noise", "smoke", {"data": ["embedded"]}).write(tmp_path / "ledger.json")
    assert "no evidence" in answer_box("01_subspace_noise", "smoke", tmp_path)


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("replicated", "all of [0.4, 0.6] fulfils < 1"),
        ("refuted", "none of [0.4, 0.6] fulfils < 1"),
        ("undecided", "[0.4, 0.6] reaches to both sides of < 1"),
    ],
)
def test_why(verdict, sentence):
    claim = JudgedClaim("x", "source", "c", "e", "< 1", 0.0, "", 0.5, (0.4, 0.6), 9, verdict)
    assert why(claim) == sentence


def test_an_unknown_page_is_an_error():
    with pytest.raises(WorkbookError, match="no entry for page 99"):
        about("99_nothing")


def test_neighbours_are_written_pages():
    assert neighbours(WRITTEN[0]) == (None, WRITTEN[1])
    assert neighbours(WRITTEN[-1]) == (WRITTEN[-2], None)
    assert neighbours("19_astra") == (None, None)
    assert (FIGURES / "laptop" / WRITTEN[1]).exists()
