"""Knobs for readers in a live notebook; one static picture everywhere else."""

import functools
import os
from collections.abc import Callable

from matplotlib.figure import Figure

from lib.book.run import Run
from lib.progress import in_kernel

LIVE = ("JPY_SESSION_NAME", "VSCODE_PID")  # set by Jupyter's server and by VS Code, not by headless runs


def live() -> bool:
    """Whether somebody sits in front of this page. WORKBOOK_WIDGETS=0 or 1 decides otherwise."""
    asked = os.environ.get("WORKBOOK_WIDGETS")
    return in_kernel() and (asked == "1" if asked else any(name in os.environ for name in LIVE))


def knobs(run: Run, draw: Callable[..., Figure], name: str, caption: str, **ranges: tuple | list) -> None:
    """Show `draw()` at its defaults as a figure of the page and, when live, sliders that redraw it.

    ranges: (least, most, step) for a number or a list of choices, one for each argument of `draw`.
    """
    run.figure(draw(), name, caption)
    if live():
        from ipywidgets import interact_manual
        from matplotlib import pyplot as plt

        @functools.wraps(draw)  # the sliders start at the defaults of `draw`
        def redraw(**values: object) -> None:
            draw(**values)
            plt.show()

        interact_manual(redraw, **ranges)
