"""The data doctor: which sets are here and whole, which can be downloaded, and where to ask for the others."""

from pathlib import Path

import pandas as pd

from lib.data.loading import load, locate
from lib.data.readers import archives
from lib.data.readers.archives import open_store, sha256
from lib.data.registry import PAGES, SETS, WEIGHTS, Entry, Weights, touched
from lib.data.sets import ImageSet
from lib.errors import WorkbookError
from lib.paths import data_root, package_file

COLUMNS = ("set", "status", "pages", "file", "images", "classes", "pairs", "integrity", "to get it")
BLOCK = 512


def doctor(root: str | Path | None = None, full: bool = False) -> pd.DataFrame:
    """One row per set: status (found, corrupt, embedded, download, ask), the pages that want it, file, counts, ...

    After the sets come the files of weights. Of every set found the first image is read, and the SHA-256 of published
    archives compared; `full` reads every image. Images of a folder are read, and a broken one found, on use. Nothing
    is downloaded, and no row holds a path outside the data root.
    """
    sets = [_row(name, entry, root, full) for name, entry in SETS.items()]
    rows = [(name, status, touched(PAGES.get(name, ())), *rest) for name, status, *rest in sets]
    return pd.DataFrame(rows + [_weights(each, root) for each in WEIGHTS], columns=list(COLUMNS))


def _weights(each: Weights, root: str | Path | None) -> tuple:
    """The row of a file of weights."""
    base = Path(root).expanduser() if root else data_root()
    here = package_file(each.package, each.name) is not None if each.package else (base / each.name).exists()
    file = f"{each.package}: {Path(each.name).name}" if each.package else each.name
    status = "found" if here else "install" if each.package else "ask"
    return each.what, status, touched(each.pages), file, "", "", "", "", "" if here else each.ask


def healthy(table: pd.DataFrame) -> bool:
    """Whether no set that was found is damaged."""
    return not (table["status"] == "corrupt").any()


def _row(name: str, entry: Entry, root: str | Path | None, full: bool) -> tuple:
    if not entry.files:
        return name, "embedded", "", "", "", "", "", "comes with the book"
    found = locate(name, root)
    if not found:
        return name, "download" if entry.fetch else "ask", "", "", "", "", "", entry.ask
    path, file = found
    try:
        hashed = [_hashed(each) for each in (path, *(path.parent / more for more in entry.beside)) if each.exists()]
        images = load(name, where="root", root=root)
        _read(images, full)
    except WorkbookError as error:
        return name, "corrupt", file, "", "", "", str(error), "replace it"
    pairs = " + ".join(f"{kind} {len(some)}" for kind, some in images.pairs.items())
    later = "first image read" + (", the others on use" if path.is_dir() else "")
    checks = [*dict.fromkeys(check for check in hashed if check), "all images read" if full else later]
    return name, "found", file, len(images), len(images.classes), pairs, ", ".join(checks), ""


def _hashed(path: Path) -> str:
    """Compare a file with the SHA-256 it was published with, if it was; other zips are opened."""
    known = archives.KNOWN.get(path.name)
    if known and path.is_file() and sha256(path) != known.sha256:
        raise WorkbookError(f"{path.name} does not have the SHA-256 it was published with: fetch it again.")
    if path.suffix == ".zip":
        open_store(path)
    return "SHA-256 as published" if known and path.is_file() else ""


def _read(images: ImageSet, full: bool) -> None:
    last = len(images) if full else 1
    for at in range(0, last, BLOCK):
        images.read(range(at, min(at + BLOCK, last)))


def brief(table: pd.DataFrame) -> pd.DataFrame:
    """The table in four columns, which fit a narrow window: what is here, or how to get it, is one text."""
    rows = [
        {
            "set": row["set"],
            "status": row["status"],
            "pages": row["pages"],
            "what is here, or how to get it": _facts(row),
        }
        for row in table.to_dict("records")
    ]
    return pd.DataFrame(rows)


def show(table: pd.DataFrame) -> str:
    """The table as aligned text, one line per set or file."""
    lines = []
    for row in table.to_dict("records"):
        pages = row["pages"] and f"pages {row['pages']}; "
        lines.append(f"{row['set']:<14} {row['status']:<9} {pages}{_facts(row)}")
    return "\n".join(lines)


def _facts(row: dict) -> str:
    counts = f"{row['images']} images, {row['classes']} classes" if row["images"] != "" else ""
    pairs = row["pairs"] and f"pairs {row['pairs']}"
    facts = (row["file"], counts, pairs, row["integrity"], row["to get it"])
    return "; ".join(fact for fact in facts if fact)
