"""What an exercise is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

KINDS = ("predict", "code", "open")


class Wrong(Exception):
    """An answer that is not right; the message is the one hint that the reader sees."""


@dataclass(frozen=True)
class Exercise:
    """One exercise of a page.

    id: page and number, "02-1", or "02-p" for the prediction. stars: 1 (a warm-up) to 3. task: Markdown. starter: the
    code that a reader starts from (of an open one: none). test: takes the answer and raises `Wrong` with a hint.
    """

    id: str
    kind: str
    title: str
    minutes: int
    stars: int
    task: str
    starter: str = ""
    test: Callable[[Any], None] | None = None

    @property
    def page(self) -> str:
        """The number of its page."""
        return self.id[:2]

    @property
    def header(self) -> str:
        """Its first line: 'Exercise 02-1 · 15 min · ★'."""
        return f"Exercise {self.id} · {self.minutes} min · {'★' * self.stars}"


def expect(condition: object, hint: str) -> None:
    """Raise `Wrong(hint)` unless the condition holds."""
    if not bool(condition):
        raise Wrong(hint)
