"""The record of paper against ours: what is stored for each printed number and each claim, and how it is judged.

Verdicts are computed from intervals, never typed.
"""

import dataclasses
import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.errors import WorkbookError
from lib.paths import atomic

REPLICATED, PARTLY, NOT_REPLICATED, NOT_TESTABLE = "replicated", "partly", "not replicated", "not testable here"
NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
Bounds = tuple[float, float]


@dataclass(frozen=True)
class Record:
    """One printed number of a source beside ours. paper, ours, interval are in `unit`; n counts what was measured."""

    source: str
    item: str
    row: str
    column: str
    unit: str
    paper: float | None
    ours: float | None
    interval: Bounds | None
    n: int | None
    setting: str
    verdict: str
    note: str = ""


@dataclass(frozen=True)
class Claim:
    """A claim as a condition (`expected`) on a measured effect and its interval."""

    id: str
    text: str
    effect: float | None
    interval: Bounds | None
    expected: str
    verdict: str
    note: str = ""


@dataclass
class Ledger:
    """Everything one page measured at one profile."""

    page: str
    profile: str
    header: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Store as JSON, atomically."""
        with atomic(path) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_ledger(path: Path) -> Ledger:
    """Read what `Ledger.write` stored."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        records = [Record(**row) for row in stored.pop("records")]
        claims = [Claim(**row) for row in stored.pop("claims")]
        return Ledger(**stored, records=records, claims=claims)
    except (ValueError, TypeError, KeyError) as error:
        raise WorkbookError(f"{path.parent.name}/{path.name} is not a ledger ({error}): run its page again.") from None


def condition(expected: str) -> tuple[str, Bounds]:
    """Parse '> 0', '<= 1', 'in [0, 1]' or 'meets [0, 1]' into its kind ('>', '<=', 'in', 'meets') and bounds."""
    text = expected.strip()
    if match := re.fullmatch(rf"([<>]=?)\s*{NUMBER}", text):
        bound = float(match[2])
        return match[1], ((bound, math.inf) if match[1][0] == ">" else (-math.inf, bound))
    if match := re.fullmatch(rf"(in|meets)\s*\[\s*{NUMBER}\s*,\s*{NUMBER}\s*\]", text):
        return match[1], (float(match[2]), float(match[3]))
    raise WorkbookError(f"An expectation reads '> 0', '<= 1', 'in [0, 1]' or 'meets [0, 1]', not '{expected}'.")


def judge(interval: Bounds | None, expected: str) -> str:
    """The verdict on a claim.

    replicated: the whole interval fulfils the expectation; not replicated: none of it does; partly: the interval
    reaches to both sides, so the data do not decide. 'meets' asks only that the two intervals overlap.
    """
    kind, (low, high) = condition(expected)
    if interval is None:
        return NOT_TESTABLE
    below, above = interval[1] - low, high - interval[0]  # how far our interval reaches into the expected one
    strict = kind in ("<", ">")
    if min(below, above) < 0 or (strict and min(below, above) == 0):
        return NOT_REPLICATED
    ends = (interval[0] - low, high - interval[1])
    inside = min(ends) > 0 if strict else min(ends) >= 0
    return REPLICATED if inside or kind == "meets" else PARTLY


def compare(paper: float | None, ours: float | None, interval: Bounds | None) -> str:
    """How our number stands to the printed one: 'agrees' (inside our interval), 'higher' or 'lower' than printed."""
    if ours is None:
        return NOT_TESTABLE
    if paper is None:
        return "not printed"
    low, high = interval or (ours, ours)
    return "agrees" if low <= paper <= high else ("higher" if low > paper else "lower")


def finite(value: Any, what: str) -> float | None:
    """`value` as a plain float; NaN and infinities are refused, because they would hide a failed measurement."""
    if value is None:
        return None
    number = float(value)
    if not math.isfinite(number):
        raise WorkbookError(f"{what} is {number}: a ledger holds finite numbers only, so find out what failed.")
    return number
