"""Where things are. Every path is anchored at the checkout, so a page runs the same from any folder."""

import glob
import importlib.util
import os
import platform
import uuid
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


def package_file(package: str, inside: str) -> Path | None:
    """A file inside an installed package, found without importing (so without running) it; None where it is not."""
    spec = importlib.util.find_spec(package)
    path = Path(next(iter(spec.submodule_search_locations)), inside) if spec else None
    return path if path and path.exists() else None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside `path` and move it there when the block succeeds; leave nothing when it fails.

    What a killed process of this machine left for the same path is swept away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{path.stem}-{platform.node()}-"
    for old in path.parent.glob(f"{glob.escape(mark)}*{path.suffix}"):
        if not alive(old.name.removeprefix(mark).split("-")[0]):
            old.unlink(missing_ok=True)
    scratch = path.with_name(f"{mark}{os.getpid()}-{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield scratch
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def alive(pid: str) -> bool:
    """Whether a process with this number runs on this machine."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
