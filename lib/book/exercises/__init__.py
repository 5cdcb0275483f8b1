"""Exercises: `check` tests what a reader wrote, `predict` and `reveal` ask for a guess before a number is shown.

from lib.book.exercises import check, predict, reveal

Nothing here raises, so that Run All and papermill go on, and nothing touches the ledger or a random state.
"""

from lib.book.exercises.base import Exercise, Wrong, expect
from lib.book.exercises.session import check, exercise, exercises, predict, reveal, starter_cells

__all__ = [
    "Exercise",
    "Wrong",
    "check",
    "exercise",
    "exercises",
    "expect",
    "predict",
    "reveal",
    "starter_cells",
]
