"""A progress bar that appears after two seconds and leaves no trace, in a terminal and in a stored page alike."""

import html
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 2.0  # seconds before a bar appears
EVERY = 0.5  # seconds between its updates


def in_kernel() -> bool:
    """Whether this runs inside a Jupyter kernel."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def progress(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Yield the items, showing how far we are. total: how many there are, when `len(items)` does not tell."""
    total = len(items) if total is None and hasattr(items, "__len__") else total
    draw = Bar(label, total)
    try:
        for done, item in enumerate(items, 1):
            yield item
            draw.update(done)
    finally:
        draw.close()


class Bar:
    """The drawing: an HTML element that is emptied at the end (kernel), or one line that is wiped (terminal)."""

    def __init__(self, label: str, total: int | None):
        self.label = label
        self.total = total
        self.handle = None
        self.start = self.last = time.monotonic()
        self.terminal = not in_kernel() and sys.stderr.isatty()

    def update(self, done: int) -> None:
        """Redraw, when the work has gone on long enough and the last drawing is not too fresh."""
        now = time.monotonic()
        if now - self.start < PATIENCE or now - self.last < EVERY:
            return
        self.last = now
        left = f", {(now - self.start) / done * (self.total - done):.0f} s left" if self.total else ""
        text = f"{self.label}: {done}{f' of {self.total}' if self.total else ''}{left}"
        if in_kernel():
            self.show(f"<progress value='{done}' max='{self.total or done}'></progress> {html.escape(text)}")
        elif self.terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

    def show(self, content: str) -> None:
        """Put `content` into the page's one place for this bar."""
        from IPython.display import HTML, display

        if self.handle is None:
            self.handle = display(HTML(content), display_id=True)
        else:
            self.handle.update(HTML(content))

    def close(self) -> None:
        """Leave nothing behind."""
        if self.handle is not None:
            self.show("")
        elif self.terminal and self.last > self.start:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
