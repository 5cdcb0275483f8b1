import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.book.ledger import Ledger, Record, compare, finite, judge, judged_claim, read_ledger
from lib.errors import WorkbookError
from lib.interval import Interval
from lib.papers import RegisteredClaim


def made(expected, margin=0.0, kind="source"):
    return RegisteredClaim("pin-1", kind, "01", "A sentence.", "an effect", expected, margin)


CASES = [
    ((0.1, 0.2), "> 0", 0, "replicated"),
    ((-0.1, 0.2), "> 0", 0, "undecided"),
    ((-0.2, -0.1), "> 0", 0, "not replicated"),
    ((-0.2, 0.0), "> 0", 0, "not replicated"),
    ((0.0, 0.2), "> 0", 0, "undecided"),
    ((0.0, 0.2), ">= 0", 0, "replicated"),
    ((-0.2, 0.0), ">= 0", 0, "undecided"),
    ((0.5, 0.9), "< 1", 0, "replicated"),
    ((0.5, 1.0), "< 1", 0, "undecided"),
    ((0.5, 1.0), "<= 1", 0, "replicated"),
    ((1.0, 2.0), "< 1", 0, "not replicated"),
    ((-1.9, 1.8), "= 0", 2, "replicated"),
    ((-2.3, 1.8), "= 0", 2, "undecided"),
    ((-9.0, 9.0), "= 0", 2, "undecided"),  # a wide interval never helps
    ((2.1, 3.0), "= 0", 2, "not replicated"),
    ((-1e-3, -5e-4), "> -1e-4", 0, "not replicated"),
    (None, "> 0", 0, "not testable here"),
]


@pytest.mark.parametrize(("bounds", "expected", "margin", "verdict"), CASES)
def test_judge(bounds, expected, margin, verdict):
    assert judge(bounds, made(expected, margin)) == verdict


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("source", ["replicated", "not replicated", "undecided"]),
        ("critique", ["supported", "refuted", "undecided"]),
        ("check", ["passed", "failed", "undecided"]),
    ],
)
def test_each_kind_has_its_words(kind, words):
    claim = made("> 0", kind=kind)
    assert [judge(bounds, claim) for bounds in ((1, 2), (-2, -1), (-1, 1))] == words


ends = st.floats(-5, 5).map(lambda v: round(v, 2))


@given(ends, ends, ends)
def test_judge_agrees_with_membership(a, b, bound):
    low, high = min(a, b), max(a, b)
    inside = [value > bound for value in (low, high)]
    verdict = {2: "replicated", 1: "undecided", 0: "not replicated"}[sum(inside)]
    assert judge((low, high), made(f"> {bound}")) == verdict


@given(ends, ends, st.floats(0.1, 3))
def test_widening_an_interval_never_makes_it_replicate(a, b, more):
    low, high = min(a, b), max(a, b)
    claim = made("= 0", 2)
    if judge((low - more, high + more), claim) == "replicated":
        assert judge((low, high), claim) == "replicated"


@pytest.mark.parametrize("text", ["0", "positive", "> x", "in [0, 1]", "meets [0, 1]", ""])
def test_bad_expectation(text):
    with pytest.raises(WorkbookError, match="An expectation reads"):
        made(text)


@pytest.mark.parametrize(("text", "margin"), [("= 0", 0.0), ("> 0", 1.0)])
def test_only_equivalence_has_a_margin(text, margin):
    with pytest.raises(WorkbookError, match="margin"):
        made(text, margin)


def test_compare():
    assert compare(9.06, 9.0, (8.0, 10.0)) == "agrees"
    assert compare(9.06, 16.0, (12.0, 20.0)) == "higher"
    assert compare(9.06, 5.0, (4.0, 6.0)) == "lower"
    assert compare(None, 5.0, (4.0, 6.0)) == "not printed"
    assert compare(9.06, None, None) == "not testable here"
    assert compare(64.0, 64.0, None) == "by construction"


def test_finite():
    assert finite(None, "x") is None
    assert finite(1, "x") == 1.0
    for bad in (math.nan, math.inf):
        with pytest.raises(WorkbookError, match="finite numbers only"):
            finite(bad, "x")


def test_a_ledger_survives_the_disk(tmp_path):
    book = Ledger("01_subspace_noise", "smoke", {"seed": 0})
    book.records.append(
        Record("pin", "Table XV", "none", "PGD", "EER %", 99.71, 94.5, (92.0, 97.0), 400, "LFW", "lower")
    )
    book.claims.append(judged_claim(made("> 0"), Interval(1.0, 0.5, 1.5, n=7)))
    book.write(tmp_path / "01" / "ledger.json")
    again = read_ledger(tmp_path / "01" / "ledger.json")
    assert again.claims[0].verdict == "replicated"
    assert again.claims[0].n == 7
    assert tuple(again.records[0].interval) == (92.0, 97.0)
    (tmp_path / "01" / "ledger.json").write_text(json.dumps({"page": "x"}))
    with pytest.raises(WorkbookError, match="is not a ledger"):
        read_ledger(tmp_path / "01" / "ledger.json")


def test_a_claim_without_an_interval_says_why():
    with pytest.raises(WorkbookError, match="give the reason"):
        judged_claim(made("> 0"), None)
    assert judged_claim(made("> 0"), None, "no data").verdict == "not testable here"
