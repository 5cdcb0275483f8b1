import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.book.ledger import Claim, Ledger, Record, compare, finite, judge, read_ledger
from lib.errors import WorkbookError

CASES = [
    ((0.1, 0.2), "> 0", "replicated"),
    ((-0.1, 0.2), "> 0", "partly"),
    ((-0.2, -0.1), "> 0", "not replicated"),
    ((-0.2, 0.0), "> 0", "not replicated"),
    ((0.0, 0.2), "> 0", "partly"),
    ((0.0, 0.2), ">= 0", "replicated"),
    ((-0.2, 0.0), ">= 0", "partly"),
    ((0.5, 0.9), "< 1", "replicated"),
    ((0.5, 1.0), "< 1", "partly"),
    ((1.0, 2.0), "< 1", "not replicated"),
    ((0.2, 0.8), "in [0, 1]", "replicated"),
    ((0.2, 1.8), "in [0, 1]", "partly"),
    ((1.2, 1.8), "in [0, 1]", "not replicated"),
    ((0.2, 1.8), "meets [0, 1]", "replicated"),
    ((0.0035, 0.0039), "meets [0.0033, 0.0037]", "replicated"),
    ((-1e-3, -5e-4), "> -1e-4", "not replicated"),
    (None, "> 0", "not testable here"),
]


@pytest.mark.parametrize(("interval", "expected", "verdict"), CASES)
def test_judge(interval, expected, verdict):
    assert judge(interval, expected) == verdict


ends = st.floats(-5, 5).map(lambda v: round(v, 2))


@given(ends, ends, ends)
def test_judge_agrees_with_membership(a, b, bound):
    low, high = min(a, b), max(a, b)
    inside = [value > bound for value in (low, high)]
    verdict = {2: "replicated", 1: "partly", 0: "not replicated"}[sum(inside)]
    assert judge((low, high), f"> {bound}") == verdict


@pytest.mark.parametrize("text", ["0", "positive", "> x", "in [0 1]", ""])
def test_bad_expectation(text):
    with pytest.raises(WorkbookError, match="An expectation reads"):
        judge((0, 1), text)


def test_compare():
    assert compare(9.06, 9.0, (8.0, 10.0)) == "agrees"
    assert compare(9.06, 16.0, (12.0, 20.0)) == "higher"
    assert compare(9.06, 5.0, (4.0, 6.0)) == "lower"
    assert compare(None, 5.0, (4.0, 6.0)) == "not printed"
    assert compare(9.06, None, None) == "not testable here"


def test_round_trip(tmp_path):
    book = Ledger("01_page", "laptop", {"seed": 0})
    book.records.append(Record("pin", "Table IV", "a", "b", "%", 1.0, 2.0, (1.5, 2.5), 3, "s", "higher"))
    book.claims.append(Claim("pin-1", "text", 1.0, (0.5, 1.5), "> 0", "replicated"))
    book.write(tmp_path / "ledger.json")
    again = read_ledger(tmp_path / "ledger.json")
    assert again.claims[0].verdict == "replicated"
    assert tuple(again.records[0].interval) == (1.5, 2.5)
    assert json.loads((tmp_path / "ledger.json").read_text())["header"] == {"seed": 0}


def test_nan_is_refused():
    with pytest.raises(WorkbookError, match="finite numbers only"):
        finite(math.nan, "EER")


def test_damaged_ledger(tmp_path):
    path = tmp_path / "ledger.json"
    path.write_text('{"page": ')
    with pytest.raises(WorkbookError, match="is not a ledger"):
        read_ledger(path)
