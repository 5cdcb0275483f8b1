"""What the five sources print: every number as a data file, and the claims that a replication must show.

A number is found by its source (`pin`, `acl_triplet`, `dar_sfrl`, `ancra`, `robust_ssl`), its item ("Table IV"), its
row ("offline / PCA-200": protocol or data set first, method last) and its column ("PGD"). Values are as printed.
"""

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

import pandas as pd

from lib.errors import WorkbookError, choices
from lib.papers.claims import RegisteredClaim, registered_claim, registered_claims

__all__ = [
    "Printed",
    "RegisteredClaim",
    "all_printed",
    "printed",
    "registered_claim",
    "registered_claims",
    "sources",
    "table",
]

FOLDER = Path(__file__).resolve().parent
COLUMNS = ["item", "row", "column", "unit", "value", "interval", "setting", "note"]


@dataclass(frozen=True)
class Printed:
    """One printed number; `interval` is the source's own +- in the same unit, if it prints one."""

    value: float
    unit: str
    setting: str
    note: str
    interval: float | None = None


def sources() -> dict[str, dict]:
    """Per source: title, short, authors, year, venue, url, notebooks, items (item, page, shows)."""
    return tomllib.loads((FOLDER / "sources.toml").read_text(encoding="utf-8"))


def all_printed(source: str | None = None) -> pd.DataFrame:
    """Every printed number of one source, or of all, in the order of the source: columns source and `COLUMNS`."""
    if source is None:
        return pd.concat([_read(name) for name in sources()], ignore_index=True)
    return _read(_known(source, list(sources()), "source")).copy()


def printed(source: str, item: str, row: str, column: str) -> Printed:
    """The number that `source` prints in this cell; an unknown name raises `WorkbookError` with close matches."""
    cells = _item(source, item)
    cells = cells[cells["row"] == _known(row, list(cells["row"].unique()), f"row of {item}")]
    cells = cells[cells["column"] == _known(column, list(cells["column"].unique()), f"column of {item}, {row}")]
    cell = cells.iloc[0]
    interval = None if pd.isna(cell["interval"]) else float(cell["interval"])
    return Printed(float(cell["value"]), cell["unit"], cell["setting"], cell["note"], interval)


def table(source: str, item: str) -> pd.DataFrame:
    """One printed table, rows by columns in the source's order; NaN where the source prints nothing."""
    cells = _item(source, item)
    wide = cells.pivot(index="row", columns="column", values="value")
    return wide.loc[cells["row"].unique(), cells["column"].unique()].rename_axis(columns=None)


def _item(source: str, item: str) -> pd.DataFrame:
    cells = all_printed(source)
    return cells[cells["item"] == _known(item, list(cells["item"].unique()), f"item with printed numbers in {source}")]


@cache
def _read(source: str) -> pd.DataFrame:
    text = {name: str for name in COLUMNS if name not in ("value", "interval")}
    frame = pd.read_csv(FOLDER / f"{source}.csv", dtype=text | {"value": float, "interval": float}, encoding="utf-8")
    frame[list(text)] = frame[list(text)].fillna("")
    frame.insert(0, "source", source)
    return frame


def _known(name: str, names: list[str], what: str) -> str:
    """`name` if it is one of `names`, else an error that offers the nearest of them."""
    if name in names:
        return name
    within = [known for known in names if str(name).casefold() in known.casefold()]
    near = within[:6] or get_close_matches(str(name), names, n=4, cutoff=0.4) or names[:6]
    raise WorkbookError(f"'{name}' is no known {what}; did you mean one of: {choices(near)}?")
