"""The record of paper against ours: what is stored for each printed number and each claim, and how it is judged.

Verdicts are computed from intervals, never typed.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.errors import WorkbookError
from lib.interval import Interval
from lib.papers import RegisteredClaim
from lib.paths import atomic

NOT_TESTABLE = "not testable here"
BY_CONSTRUCTION = "by construction"
# per kind of claim: the word when all of the interval fulfils the expectation, when none of it does, when some does
VERDICTS = {
    "source": ("replicated", "not replicated", "undecided"),
    "critique": ("supported", "refuted", "undecided"),
    "check": ("passed", "failed", "undecided"),
}
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
class JudgedClaim:
    """A registered claim with what a page measured of it; the definition is stored as it was when it was judged."""

    id: str
    kind: str
    claim: str
    measured: str
    expected: str
    margin: float
    changed: str
    effect: float | None
    interval: Bounds | None
    n: int | None
    verdict: str
    note: str = ""


@dataclass
class Ledger:
    """Everything one page measured at one profile."""

    page: str
    profile: str
    header: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    claims: list[JudgedClaim] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Store as JSON, atomically."""
        with atomic(path) as scratch:
            scratch.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_ledger(path: Path) -> Ledger:
    """Read what `Ledger.write` stored."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        records = [Record(**row) for row in stored.pop("records")]
        claims = [JudgedClaim(**row) for row in stored.pop("claims")]
        return Ledger(**stored, records=records, claims=claims)
    except (ValueError, TypeError, KeyError) as error:
        raise WorkbookError(f"{path.parent.name}/{path.name} is not a ledger ({error}): run its page again.") from None


def judge(bounds: Bounds | None, claim: RegisteredClaim) -> str:
    """The verdict on a claim: whether all, none or a part of the interval (low, high) fulfils its expectation.

    '= value' asks that the whole interval lies within the margin (equivalence), so a wide interval never helps.
    """
    if bounds is None:
        return NOT_TESTABLE
    all_of_it, none_of_it, some_of_it = VERDICTS[claim.kind]
    sign, bound = claim.condition
    if sign == "=":
        inside = max(abs(end - bound) for end in bounds) <= claim.margin
        outside = bounds[0] > bound + claim.margin or bounds[1] < bound - claim.margin
        return all_of_it if inside else none_of_it if outside else some_of_it
    fulfilled = [_fulfils(end, sign, bound) for end in bounds]
    return all_of_it if all(fulfilled) else some_of_it if any(fulfilled) else none_of_it


def _fulfils(value: float, sign: str, bound: float) -> bool:
    above = value > bound if sign in (">", "<=") else value >= bound
    return above if sign[0] == ">" else not above


def judged_claim(claim: RegisteredClaim, interval: Interval | None, note: str = "") -> JudgedClaim:
    """What the ledger holds of a claim; without an interval it is not testable here, and the note says why."""
    if interval is None and not note:
        raise WorkbookError(f"Claim {claim.id} has no interval: give the reason in `note`.")
    definition = (claim.id, claim.kind, claim.claim, claim.effect, claim.expected, claim.margin, claim.changed)
    if interval is None:
        return JudgedClaim(*definition, None, None, None, NOT_TESTABLE, note)
    bounds = (interval.low, interval.high)
    return JudgedClaim(*definition, interval.estimate, bounds, interval.n or None, judge(bounds, claim), note)


def compare(paper: float | None, ours: float | None, interval: Bounds | None) -> str:
    """How our number stands to the printed one: 'agrees' (inside our interval), 'higher' or 'lower' than printed.

    A number without an interval was set, not measured (a size of an architecture): equal by construction, or not.
    """
    if ours is None:
        return NOT_TESTABLE
    if paper is None:
        return "not printed"
    if interval is None and ours == paper:
        return BY_CONSTRUCTION
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
