"""The claims of the book, registered before they are measured: `claims.toml`.

A claim is a sentence with a measured effect and what is expected of it. Its kind says who makes it: `source` (the
authors), `critique` (we, against the source) or `check` (a test of our own tools).
"""

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib.errors import WorkbookError, choices

FILE = Path(__file__).resolve().parent / "claims.toml"
KINDS = ("source", "critique", "check")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"


@dataclass(frozen=True)
class RegisteredClaim:
    """One claim: where it is judged (`page`), what is measured (`effect`), and what is expected of it.

    expected: '> 0', '>= 0', '< 0', '<= 0', or '= 0' with the `margin` within which there is no difference that matters.
    where: the place in the source. changed: how and why the definition changed after it was first judged.
    """

    id: str
    kind: str
    page: str
    claim: str
    effect: str
    expected: str
    margin: float = 0.0
    where: str = ""
    changed: str = ""

    def __post_init__(self) -> None:
        """Refuse a claim that cannot be judged."""
        if self.kind not in KINDS:
            raise WorkbookError(f"Claim {self.id} is of a kind among {choices(KINDS)}, not '{self.kind}'.")
        sign, _ = self.condition
        if (sign == "=") != (self.margin > 0):
            raise WorkbookError(f"Claim {self.id}: '= value' needs a margin above 0, and nothing else has one.")

    @property
    def condition(self) -> tuple[str, float]:
        """The sign and the bound of `expected`."""
        match = re.fullmatch(rf"(>=|<=|>|<|=)\s*({NUMBER})", self.expected.strip())
        if not match:
            raise WorkbookError(f"An expectation reads '> 0', '<= 1' or '= 0' (with a margin), not '{self.expected}'.")
        return match[1], float(match[2])

    @property
    def wanted(self) -> str:
        """The expectation in words for a table."""
        return f"{self.expected} ± {self.margin:g}" if self.margin else self.expected


@cache
def registered_claims() -> dict[str, RegisteredClaim]:
    """Every registered claim by its id, in the order of the file."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["claim"]
    found = {entry["id"]: RegisteredClaim(**entry) for entry in entries}
    if len(found) < len(entries):
        raise WorkbookError("claims.toml registers an id twice: give each claim its own.")
    return found


def registered_claim(id: str) -> RegisteredClaim:
    """The claim `id`; an unknown one is an error."""
    if id not in registered_claims():
        near = [known for known in registered_claims() if known.split("-")[0] == id.split("-")[0]]
        raise WorkbookError(f"Claim '{id}' is not registered in lib/papers/claims.toml; there are {choices(near)}.")
    return registered_claims()[id]
