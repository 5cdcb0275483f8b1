"""`load`: the data root first, then a download; an embedded default only where it is asked for."""

import inspect
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from lib.data.readers.archives import open_store
from lib.data.registry import SETS, Entry, load_procedural
from lib.data.sets import ImageSet
from lib.errors import MissingData, WorkbookError, choices
from lib.paths import data_root

ROUTES = ("auto", "root", "download", "embedded")
BOUND = {"store", "name", "source", "credit"}  # parameters that loaders share among themselves, not options of a set


def load(name: str, *, where: str = "auto", root: str | Path | None = None, **options: object) -> ImageSet:
    """The set `name`: from the data root (`root`, else WORKBOOK_DATA), else from the library that hosts it.

    `where` forces one route: 'root', 'download', or 'embedded', which gives the stand-in that needs no data (procedural
    faces, or scikit-learn's digits for sets of things). `options` are the set's own, such as `size`. Raises
    WorkbookError for an unknown name, route or option, and for a set that is missing or damaged.
    """
    if name not in SETS:
        raise WorkbookError(f"There is no set '{name}': choose from {choices(tuple(SETS))}.")
    if where not in ROUTES:
        raise WorkbookError(f"where='{where}' is not a route to data: choose from {choices(ROUTES)}.")
    entry = SETS[name]
    check_options(name, entry.load, options)
    if not entry.files:
        return entry.load(**options)
    if where == "embedded":
        return _stand_in(entry, options)
    if where != "download" and (found := locate(name, root)):
        return entry.load(open_store(*found), **options)
    if where != "root" and entry.fetch:
        return entry.load(open_store(fetch(name, root)), **options)
    raise MissingData(f"{_missing(name, entry, root)}: put it there or set WORKBOOK_DATA; {entry.ask}.")


def locate(name: str, root: str | Path | None = None) -> tuple[Path, str] | None:
    """Where the data root holds a set, and that place relative to the root; None where it does not.

    Raises WorkbookError where the root that was named does not exist.
    """
    given = root or os.environ.get("WORKBOOK_DATA")
    base = Path(root).expanduser() if root else data_root()
    if given and not base.is_dir():
        raise WorkbookError(
            f"The data root {given} is not a folder: set WORKBOOK_DATA to the folder with the data sets."
        )
    return next(((base / file, file) for file in SETS[name].files if (base / file).exists()), None)


def check_options(name: str, loader: Callable[..., ImageSet], options: dict[str, object]) -> None:
    """Refuse options that a set does not have, and sizes that are none."""
    known = accepted(name, loader)
    for key, value in options.items():
        if key not in known:
            has = f"its options are {choices(tuple(known))}" if known else "it has none"
            raise WorkbookError(f"The set '{name}' has no option '{key}': {has}.")
        native = value is None and known[key].annotation == int | None  # some sets can be left as they are
        if key == "size" and not native and (not isinstance(value, int) or not 8 <= value <= 2048):
            raise WorkbookError(f"size is a number of pixels from 8 to 2048, not {value!r}.")


def accepted(name: str, loader: Callable[..., ImageSet]) -> dict[str, inspect.Parameter]:
    """A set's options."""
    if loader is load_procedural:
        from lib.data.procedural_faces.dataset import load_procedural as loader  # it is imported only where it is used
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = inspect.signature(loader).parameters.values()
    return {each.name: each for each in found if each.kind in kinds and each.name not in BOUND}


def _stand_in(entry: Entry, options: dict[str, object]) -> ImageSet:
    """The embedded set in place of another; options that only the real one has do not apply to it."""
    name, settings = entry.stand_in
    loader = SETS[name].load
    known = accepted(name, loader)
    return loader(**settings | {key: value for key, value in options.items() if key in known and value is not None})


def fetch(name: str, root: str | Path | None = None) -> Path:
    """Put the set `name` into the data root, from the addresses that its library publishes; where it lies then.

    A stopped download goes on where it was, hashes are checked, and two pages that want one set wait for each other.
    Raises MissingData where that fails, and WorkbookError for a set that cannot be downloaded.
    """
    if name not in SETS or not SETS[name].fetch:
        able = choices([each for each, entry in SETS.items() if entry.fetch])
        raise WorkbookError(f"'{name}' is no set that can be fetched; these can: {able}.")
    entry = SETS[name]
    base = Path(root).expanduser() if root else data_root()
    place = base / entry.fetched
    try:
        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / f".fetch-{entry.fetched}.lock"):
            if not place.exists():
                print(f"fetching {name} into the data root")
                entry.fetch(base)
    except WorkbookError:
        raise
    except Exception as error:  # whatever a library, a server or a full disk may raise
        raise MissingData(
            f"The set '{name}' is not in the data root, and its download by {entry.library} failed "
            f"({type(error).__name__}): try again with a network, or put {entry.files[0]} into the data root."
        ) from error
    return place


def _missing(name: str, entry: Entry, root: str | Path | None) -> str:
    given = os.environ.get("WORKBOOK_DATA")
    place = str(root) if root else f"WORKBOOK_DATA={given}" if given else "WORKBOOK_DATA is not set"
    return f"The set '{name}' is not in the data root ({place}), where {' or '.join(entry.files)} was looked for"
