"""Where things are. Every path is anchored at the checkout, so a page runs the same from any folder."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
FIGURES = ROOT / "figures"
RUNS = ROOT / "runs"


def data_root() -> Path:
    """The folder of real data sets: `WORKBOOK_DATA`, else `~/.cache/robust-faces-workbook`. It may not exist yet.

    A relative `WORKBOOK_DATA` is taken from the checkout, as in the README's commands.
    """
    given = os.environ.get("WORKBOOK_DATA")
    if not given:
        return Path.home() / ".cache" / "robust-faces-workbook"
    return (ROOT / Path(given).expanduser()).resolve()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path` and move it there when the block succeeds; leave nothing when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(0o644)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
