"""What a reader calls in a notebook. The outcomes of this session are kept here for `python -m lib.book grade`."""

import importlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from lib.book.exercises.base import Exercise, Wrong
from lib.book.tables import significant
from lib.errors import WorkbookError, choices
from lib.interval import Interval

SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "○"}
PAGES = sorted(path.stem[-2:] for path in Path(__file__).parent.glob("page_*.py"))
outcomes: dict[str, tuple[str, str]] = {}  # id -> (right, wrong or not attempted; the hint)
predictions: dict[str, float] = {}


def exercises(page: str) -> list[Exercise]:
    """The exercises of a page given by number or name, in order; none where it has none yet."""
    if page[:2] not in PAGES:
        return []
    return importlib.import_module(f"lib.book.exercises.page_{page[:2]}").EXERCISES


def exercise(id: str) -> Exercise:
    """The exercise `id`; an unknown one is an error."""
    known = {entry.id: entry for entry in exercises(str(id))}
    if id not in known:
        raise WorkbookError(f"There is no exercise '{id}': page {str(id)[:2]} has {choices(list(known) or ['none'])}.")
    return known[id]


def check(id: str, answer: Callable | object) -> None:
    """Test an answer on tiny examples and print a tick, or a cross with one hint; not attempted is said."""
    test = exercise(id).test
    if test is None:
        raise WorkbookError(f"Exercise {id} has no right answer to check: discuss it.")
    with unchanged_random_state():
        outcome, hint = judge(test, answer)
    outcomes[id] = (outcome, hint)
    print(f"{SIGNS[outcome]} {id} {outcome}{': ' + hint if hint else ''}")


def judge(test: Callable[[object], None], answer: object) -> tuple[str, str]:
    """The outcome of a test and its hint."""
    try:
        test(answer)
    except NotImplementedError:
        return "not attempted", ""
    except Wrong as wrong:
        return "wrong", str(wrong)
    except Exception as error:
        return "wrong", f"your code stopped with {type(error).__name__}: {error}"
    return "right", ""


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Leave the random states of Python, numpy and torch as they were: no measured number may hang on an exercise."""
    import numpy as np
    import torch

    state = random.getstate()
    array = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(array)


def predict(id: str, value: float | None) -> None:
    """Note a prediction before its number is shown. None: none made."""
    asked = exercise(id)
    if value is None:
        predictions.pop(id, None)
        outcomes[id] = ("not attempted", "")
        print(f"○ {id} no prediction yet: {asked.title} Put a number in place of None, then read on.")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        outcomes[id] = ("wrong", "a prediction is a number")
        print(f"✗ {id} a prediction is a number, not {value!r}.")
    else:
        predictions[id] = float(value)
        outcomes[id] = ("right", f"predicted {value:g}")
        print(f"✓ {id} noted: {value:g}. The answer stands further down.")


def reveal(id: str, measured: Interval | float) -> None:
    """Show a measured number beside the prediction made of it. Predictions are not marked, only compared."""
    exercise(id)
    estimate = measured.estimate if isinstance(measured, Interval) else float(measured)
    shown = f"{measured:.3g}" if isinstance(measured, Interval) else significant(estimate, 3)
    if id not in predictions:
        print(f"{id} measured: {shown}. You made no prediction.")
        return
    guess = predictions[id]
    inside = isinstance(measured, Interval) and guess in measured
    ratio = "inside the interval" if inside else f"{significant(abs(guess - estimate), 3)} off"
    print(f"{id} measured: {shown}. You predicted {guess:g}, {ratio}.")


def starter_cells(page: str) -> list[NotebookNode]:
    """The exercises of a page as notebook cells: the task, then, tagged `exercise`, the code to start from."""
    cells = []
    for entry in exercises(page):
        task = f"{entry.title}** {entry.task}"
        if entry.starter:
            code = f"# {entry.header}\n{entry.starter}"
            cells.append(nbformat.v4.new_markdown_cell(f"**{task}"))
            cells.append(nbformat.v4.new_code_cell(code, metadata={"tags": ["exercise"]}))
        else:
            cells.append(nbformat.v4.new_markdown_cell(f"**{entry.header}: {task}"))
    return cells
