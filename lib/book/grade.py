"""Grade a class: run the exercise cells of many notebooks and table the outcomes.

Only cells tagged `exercise` run, and code cells that only import (so that an answer may use what its page imported);
each notebook in a process of its own, in an empty folder, with a time limit. The outcomes are those of `check`.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd

from lib.errors import WorkbookError
from lib.paths import ROOT, atomic

LIMIT = 60  # seconds for one notebook
SIGNS = {"right": "✓", "wrong": "✗", "not attempted": "○"}


def grade(paths: list[Path], out: Path, limit: float = LIMIT) -> pd.DataFrame:
    """One row a notebook, one column an exercise: ✓ right, ✗ wrong, ○ not attempted. Written to `out` with the hints.

    A notebook that cannot be read, or that runs longer than `limit` seconds, says so in the column `remark`; what it
    had answered before counts.
    """
    missing = [path for path in paths if not path.exists()]
    if missing or not paths:
        raise WorkbookError(f"Give the notebooks to grade; there is no {missing[0] if missing else 'notebook given'}.")
    rows = [grade_one(path, limit) for path in paths]
    ids = sorted({id for row in rows for id in row["outcomes"]})
    table = []
    for path, row in zip(paths, rows, strict=True):
        outcomes = row["outcomes"]
        signs = {id: SIGNS[outcomes[id][0]] if id in outcomes else "" for id in ids}
        hints = "; ".join(f"{id} {hint}" for id, (outcome, hint) in outcomes.items() if outcome == "wrong")
        right = sum(outcome == "right" for id, (outcome, _) in outcomes.items() if not id.endswith("p"))
        table.append({"notebook": str(path), **signs, "right": right, "remark": row["remark"], "hints": hints})
    frame = pd.DataFrame(table)
    with atomic(out) as scratch:
        frame.to_csv(scratch, index=False)
    return frame


def grade_one(path: Path, limit: float = LIMIT) -> dict:
    """The outcomes {id: (outcome, hint)} of one notebook, and a remark where it did not run to its end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "outcomes.jsonl"
        command = [sys.executable, "-m", "lib.book.grade", str(path.resolve()), str(log)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
        remark = ""
        quiet = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL}
        try:
            done = subprocess.run(command, cwd=folder, env=environment, timeout=limit, **quiet)
            if done.returncode:
                remark = (done.stderr.strip().splitlines() or ["stopped"])[-1]
        except subprocess.TimeoutExpired:
            remark = f"stopped after {limit:g} s"
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return {"outcomes": {id: tuple(outcome) for id, outcome in map(json.loads, lines)}, "remark": remark}


def run_exercises(path: Path, log: Path) -> None:
    """Run a notebook's imports and exercise cells in this process; append a line to `log` for every new outcome."""
    from lib.book.exercises import check, predict, reveal, session

    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception as error:
        raise WorkbookError(f"{path.name} is no notebook ({type(error).__name__}).") from None
    names: dict[str, object] = {"__name__": "__main__"}
    for at, cell in enumerate(cells):
        tagged = "exercise" in cell.metadata.get("tags", [])
        if cell.cell_type != "code" or not (tagged or only_imports(cell.source)):
            continue
        names |= {"check": check, "predict": predict, "reveal": reveal}  # whatever a cell before has named so
        before = dict(session.outcomes)
        try:
            exec(compile(cell.source, f"cell {at}", "exec"), names)
        except Exception as error:
            print(f"cell {at}: {type(error).__name__}: {error}")
        with log.open("a", encoding="utf-8") as file:
            for id, outcome in session.outcomes.items():
                if before.get(id) != outcome:
                    file.write(json.dumps([id, outcome]) + "\n")


def only_imports(source: str) -> bool:
    """Whether a cell does nothing but import."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return False
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


if __name__ == "__main__":
    run_exercises(Path(sys.argv[1]), Path(sys.argv[2]))
