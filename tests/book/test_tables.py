"""Tables of pages, and the sources' tables with our numbers in them."""

import re

import pandas as pd
import pytest

from lib.book.ledger import JudgedClaim, Record, read_ledger
from lib.book.tables import (
    claims_table,
    frame_table,
    number,
    records_frame,
    significant,
    source_table,
    source_tables,
)
from lib.papers import all_printed
from lib.paths import FIGURES

STORED = sorted((FIGURES / "laptop").glob("*/ledger.json"))


def record(row, column, ours, verdict, note="", item="Table XV", paper=22.93):
    interval = None if ours is None else (ours - 1, ours + 1)
    return Record("pin", item, row, column, "EER %", paper, ours, interval, 400, "LFW", verdict, note)


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(99.13, 3, "99.1"), (1234.6, 3, "1235"), (0.01234, 3, "0.0123"), (0.0, 3, "0"), (2.0, 3, "2"), (-0.5, 3, "-0.5")]
    + [(1e-17, 3, "0"), (99.96, 3, "100"), (1.2345e-5, 3, "1.2e-05"), (float("nan"), 3, "–")],
)
def test_significant_digits(value, digits, text):
    assert significant(value, digits) == text


def test_rounding_noise_is_zero():
    assert number(-2.776e-15) == "0"
    assert number(None) == "–"


def test_a_frame_is_escaped_and_aligned():
    table = frame_table(pd.DataFrame({"name": ["<b>"], "n": [3], "rate": [0.123456]}), "A & B", below="See more.")
    assert "&lt;b&gt;" in table
    assert "A &amp; B" in table
    assert "0.123<" in table
    assert table.count('align="right"') == 4
    assert "See more." in table


def test_a_cell_holds_the_printed_number_over_ours_with_a_sign_and_a_shade():
    records = [
        record("offline / PCA-200", "PGD", 16.0, "lower"),
        record("offline / PCA-200", "FGSM", 16.0, "higher", paper=9.42),
        record("offline / PCA-200", "clean", 9.0, "agrees", paper=9.06),
    ]
    table = source_table("pin", "Table XV", records)
    assert "22.93 ▲<br>16 [15, 17]" in table
    assert "9.42 ▼<br>16 [15, 17]" in table
    assert "9.06 ✓<br>9 [8, 10]" in table
    assert table.count("background-color: rgba(230, 159, 0, 0.3)") == 1
    assert table.count("background-color: rgba(86, 180, 233, 0.3)") == 1
    assert "12.35<br>– <sup>a</sup>" in table  # DeepFool, which nobody recorded
    assert "not attempted on this page." in table
    assert "15 more rows of this table are not on this page." in table


def test_what_cannot_be_measured_is_dimmed_and_its_reason_stands_once():
    rows = ["dodging / none", "dodging / MagNet"]
    records = [record(row, "1000 queries", None, "not testable here", "no data", "Table VII") for row in rows]
    table = source_table("pin", "Table VII", records)
    assert table.startswith("<details>")
    assert table.count("no data.") == 1
    assert table.count("opacity: 0.5") == 6
    mixed = source_table("pin", "Table VII", [*records, record("dodging / HGD", "1000 queries", 1.0, "higher")])
    assert not mixed.startswith("<details>")


def test_a_cell_measured_twice_shows_both():
    records = [record("offline / PCA-200", "PGD", ours, "lower") for ours in (16.0, 19.0)]
    assert "22.93 ▲<br>16 [15, 17]<br>19 [18, 20]" in source_table("pin", "Table XV", records)


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.parent.name)
def test_stored_ledgers_make_tables_that_survive_a_page_that_is_not_trusted(path):
    ledger = read_ledger(path)
    text = source_tables(ledger.records) + claims_table(ledger.claims)
    assert not re.search(r"<style|<script|\sid=|\sclass=", text)
    measured = [r for r in ledger.records if r.ours is not None]
    assert text.count("▲<br>") <= sum(r.verdict == "lower" for r in measured)
    for r in measured:
        assert significant(r.ours, 4) in text
    for tag in ("table", "tr", "td", "details"):
        assert text.count(f"<{tag}>") + text.count(f"<{tag} ") == text.count(f"</{tag}>")


def test_the_csv_keeps_everything():
    ledger = read_ledger(FIGURES / "laptop" / "14_ancra_attacks" / "ledger.json")
    frame = records_frame(ledger.records)
    assert len(frame) == len(ledger.records)
    assert {"low", "high", "setting", "note", "ours is"} <= set(frame.columns)


def test_every_printed_table_can_be_shown():
    for (source, item), cells in all_printed().groupby(["source", "item"], sort=False):
        first = cells.iloc[0]
        unit = first["unit"]
        only = Record(source, item, first["row"], first["column"], unit, first["value"], 1.0, None, 1, "", "higher")
        assert item in source_table(source, item, [only])


def test_claims_stand_with_the_source_first():
    made = [
        JudgedClaim(f"{kind}-1", kind, "It <is> so.", "effect", "> 0", 0.0, "", 1.0, (0.5, 2.0), 9, verdict)
        for kind, verdict in (("check", "failed"), ("source", "replicated"))
    ]
    table = claims_table(made)
    assert table.index("source-1") < table.index("check-1")
    assert "● replicated" in table
    assert "✕ failed" in table
    assert "It &lt;is&gt; so." in table
