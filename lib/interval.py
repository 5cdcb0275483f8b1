"""An estimate with its confidence interval: what every measurement of the book ends as."""

import math
from dataclasses import dataclass, replace

from lib.errors import WorkbookError

SMALLEST = 1e-12  # below it a number is rounding noise and reads as 0


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval `low` to `high`; `n` counts what was measured, `method` says how."""

    estimate: float
    low: float
    high: float
    level: float = 0.95
    n: int = 0
    method: str = ""

    def __post_init__(self) -> None:
        """Refuse what would hide a failed measurement: NaN, infinities, ends the wrong way round."""
        for name in ("estimate", "low", "high"):
            value = float(getattr(self, name))
            if not math.isfinite(value):
                raise WorkbookError(f"An interval's {name} is {value}: it must be finite, so find out what failed.")
            object.__setattr__(self, name, 0.0 if abs(value) < SMALLEST else value)
        object.__setattr__(self, "n", int(self.n))  # numpy and torch counts are not JSON
        if self.low > self.high:
            raise WorkbookError(f"An interval runs from its low to its high end, not from {self.low} to {self.high}.")

    def __contains__(self, value: float) -> bool:
        """Whether `value` lies between the ends."""
        return self.low <= value <= self.high

    def __format__(self, spec: str) -> str:
        """All three numbers in one format: `f"{interval:.1f}"` reads 1.2 [0.3, 2.1]."""
        spec = spec or ".4g"
        return f"{self.estimate:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"

    def __str__(self) -> str:
        """Four significant digits."""
        return format(self, "")

    def scaled(self, factor: float) -> "Interval":
        """The same in another unit: `interval.scaled(100)` for per cent."""
        low, high = sorted((self.low * factor, self.high * factor))
        return replace(self, estimate=self.estimate * factor, low=low, high=high)

    def shifted(self, by: float) -> "Interval":
        """The same, counted from another zero."""
        return replace(self, estimate=self.estimate + by, low=self.low + by, high=self.high + by)

    def of(self, n: int) -> "Interval":
        """The same, saying how many examples (pairs, images) were measured where these are not the units drawn."""
        return replace(self, n=n)
