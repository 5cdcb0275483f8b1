"""Knobs for readers in a live notebook; one static picture everywhere else.

The picture of a knob is drawn from a small grid of numbers that the page measured and that is committed beside its
figures, so that turning a knob needs no data and no model.
"""

import inspect
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from IPython.display import Markdown, display
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from lib.book import plots
from lib.book.run import Run
from lib.errors import WorkbookError
from lib.paths import FIGURES, atomic
from lib.progress import in_kernel

LIVE = ("JPY_SESSION_NAME", "VSCODE_PID")  # set by Jupyter's server and by VS Code, not by headless runs
MAX_GRID = 100_000  # bytes of a stored grid
COMMITTED = "laptop"  # the profile whose grids are part of the repository
Grid = dict[str, np.ndarray]


@dataclass(frozen=True)
class Knob:
    """One knob: its label, the values that it can take, its unit, and where it starts (the first value by default)."""

    label: str
    values: Sequence[Any]
    unit: str = ""
    start: Any = None

    @property
    def default(self) -> object:
        """The value it starts at."""
        return self.values[0] if self.start is None else self.start

    def options(self) -> list[tuple[str, Any]]:
        """What a reader sees and the value that it stands for."""
        unit = f" {self.unit}" if self.unit else ""
        return [(f"{value:g}{unit}" if isinstance(value, int | float) else str(value), value) for value in self.values]


def live() -> bool:
    """Whether somebody sits in front of this page. WORKBOOK_WIDGETS=0 or 1 decides otherwise."""
    asked = os.environ.get("WORKBOOK_WIDGETS")
    return in_kernel() and (asked == "1" if asked else any(name in os.environ for name in LIVE))


def knobs(run: Run, draw: Callable[..., Figure], name: str, caption: str, **controls: Knob | tuple | list) -> None:
    """Show `draw()` at the knobs' starts as a figure of the page; live, with knobs that replace it when released.

    controls: a `Knob` for each argument of `draw`; or (least, most, step), or a list of choices.
    """
    made = {key: as_knob(key, control, draw) for key, control in controls.items()}
    starts = {key: knob.default for key, knob in made.items()}
    if not live():
        run.figure(draw(**starts), name, caption)
        return
    plots.save_svg(draw(**starts), run.folder / f"{name}.svg")
    plt.close("all")
    display(interactive_picture(draw, made, caption))
    display(Markdown(f"*{caption}*"))


def as_knob(name: str, control: Knob | tuple | list, draw: Callable[..., Figure]) -> Knob:
    """A knob from what a page gives; without a `Knob` it has an argument's name and starts at its default in `draw`."""
    if isinstance(control, Knob):
        return control
    values = list(control) if isinstance(control, list) else steps(*control)
    start = inspect.signature(draw).parameters[name].default
    numeric = isinstance(start, int | float)
    near = min(values, key=lambda value: abs(value - start)) if numeric else start if start in values else values[0]
    return Knob(name.replace("_", " "), values, start=near)


def steps(least: float, most: float, step: float) -> list[float]:
    """The values least, least + step, ... up to most."""
    return [round(least + at * step, 10) for at in range(int((most - least) / step + 1e-9) + 1)]


def interactive_picture(draw: Callable[..., Figure], made: dict[str, Knob], caption: str) -> Any:
    """An ipywidgets box of the knobs and one picture, which is redrawn in place when a knob is let go."""
    import ipywidgets

    style = {"description_width": "initial"}
    layout = ipywidgets.Layout(width="480px")
    sliders = {}
    for key, knob in made.items():
        settings = {"options": knob.options(), "value": knob.default, "description": knob.label, "style": style}
        kind = ipywidgets.SelectionSlider if isinstance(knob.default, int | float) else ipywidgets.Dropdown
        extra = {"continuous_update": False} if kind is ipywidgets.SelectionSlider else {}
        sliders[key] = kind(**settings, layout=layout, **extra)

    def redraw(**values: object) -> None:
        figure = draw(**values)
        display(plots.as_html(figure, caption))
        plt.close(figure)

    return ipywidgets.interactive(redraw, **sliders)


def keep_grid(run: Run, name: str, **arrays: Any) -> None:
    """Store arrays of numbers (4 significant digits), or texts, as `<folder>/<name>.json` for `stored_grid`."""
    rounded = {key: _rounded(np.asarray(values).tolist()) for key, values in arrays.items()}
    text = json.dumps(rounded, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_GRID:
        raise WorkbookError(f"The grid {name} has {len(text)} bytes: keep it under {MAX_GRID}, with fewer values.")
    with atomic(run.folder / f"{name}.json") as scratch:
        scratch.write_text(text + "\n", encoding="utf-8")


def stored_grid(run: Run, name: str) -> Grid:
    """The arrays that `keep_grid` stored for this run; where it has none yet, those of the stored page, and it says so.

    So knobs can be turned in a page of which only the first cells were run.
    """
    own = run.folder / f"{name}.json"
    committed = FIGURES / COMMITTED / run.page / f"{name}.json"
    if not own.exists() and not committed.exists():
        raise WorkbookError(f"Page {run.page} has no grid '{name}' yet: run the page first.")
    if not own.exists():
        print(f"this run has measured nothing yet: the numbers are those of the stored page (profile {COMMITTED})")
    path = own if own.exists() else committed
    return _arrays(json.loads(path.read_text(encoding="utf-8")))


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _arrays(stored: dict[str, Any]) -> Grid:
    return {key: np.asarray(values) for key, values in stored.items()}
