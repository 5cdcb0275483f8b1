"""Where the bytes are: a zip archive or a folder, with one interface and a cheap fingerprint."""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from lib.errors import WorkbookError


class Known(NamedTuple):
    """What a published archive looks like: its size, its content (the digest of its directory) and its SHA-256."""

    size: int
    digest: str
    sha256: str


# Archives of the book's own data root. The digest stands for names, sizes and CRCs, so it is checked at every load.
KNOWN = {
    "att_faces.zip": Known(
        3781230, "5f06f0722f40ec17", "9ca9c8c2086d75858a6fc6ff5e57e6c7207b93d8809a72a0916622ce80d4131d"
    ),
    "celeba_sub112.zip": Known(
        30156463, "33adb99ea7a12f57", "e3ec8fff9b6774949fe6792337f440a5b6881722b7d555dbe57c4d5d4d9edf15"
    ),
    "cfp112.zip": Known(
        31099812, "bd7cce13d4f3d723", "ccd52e8ef371fe121c1017424421bd532663e82c8fc7484db3dd8ce139bff9e3"
    ),
    "fer2013.zip": Known(
        62318097, "d91d442874fb65fc", "9f0d1e1897ee14e8e5966a6e587902aaac152393f44243c3290e07b27e698263"
    ),
    "ferplus.zip": Known(
        583147, "398962881d233036", "c54135a90fbde35617a244a4929e37ae50525b7b64d3c9ecc33956a00fd4e041"
    ),
    "lfw112.zip": Known(
        61730163, "70b231c4907e29b2", "9abe0b08a759ecc5d9ecdd829d38ee09e61d8dae2b854f2c0b487a272b9656a7"
    ),
    "lfw_pairs.txt": Known(155335, "", "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592"),
    "london_ccby.zip": Known(
        5503563, "b57d8b9e7f35bd1c", "cc6c0e924daa67c386f31e8f67f0c25d0771e52a86434f682061c6c9a7243570"
    ),
    "tiny_imagenet_20.zip": Known(
        22824537, "fc3bd4dd055560a7", "13ae20e259f0eb8620b80050bff7a1c42150a4c7791ec9146cba04c174789dd8"
    ),
}


DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)  # what reading a bad archive raises


@dataclass(frozen=True)
class Store:
    """Files under one roof: a zip, a folder, or one file alone.

    `label` is what may be printed; `names` are the files' paths inside, '/'-separated.
    """

    path: Path = field(repr=False)
    label: str
    names: tuple[str, ...]
    fingerprint: str

    def bytes(self, name: str) -> bytes:
        """The content of one file. Safe from several threads and processes."""
        try:
            if self.path.suffix == ".zip" and not self.path.is_dir():
                return _open(self.path, os.getpid()).read(name)
            return (self.path / name if self.path.is_dir() else self.path).read_bytes()
        except (KeyError, FileNotFoundError):
            raise WorkbookError(f"{self.label} has no file {name}: it is incomplete, fetch it again.") from None
        except DAMAGE as error:
            raise WorkbookError(f"{name} in {self.label} cannot be read ({_reason(error)}): fetch it again.") from None

    def text(self, name: str) -> str:
        """The content of a text file, without a byte-order mark."""
        return self.bytes(name).decode("utf-8-sig", errors="replace")

    def find(self, ending: str) -> str | None:
        """The first file whose path is or ends with '/' + `ending`."""
        return next((name for name in self.names if f"/{name}".endswith(f"/{ending}")), None)


def digest(rows: Iterable[str]) -> str:
    """Sixteen hexadecimal digits that stand for these lines."""
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def open_store(path: Path, label: str | None = None) -> Store:
    """The zip archive, folder or single file at `path`. Raises WorkbookError where it is damaged or mislabelled."""
    label = label or path.name
    if path.is_dir():
        found = sorted((file.relative_to(path).as_posix(), file.stat().st_size) for file in _walk(path))
        return Store(path, label, tuple(name for name, _ in found), digest(f"{name} {size}" for name, size in found))
    if path.suffix != ".zip" and path.is_file():
        return Store(path, label, (path.name,), sha256(path)[:16])
    try:
        entries = [entry for entry in _open(path, os.getpid()).infolist() if not entry.is_dir()]
    except FileNotFoundError:
        raise WorkbookError(f"{label} is neither a folder nor a zip archive: check the path.") from None
    except DAMAGE as error:
        raise WorkbookError(f"{label} is not a readable zip archive ({_reason(error)}): fetch it again.") from None
    fingerprint = digest(f"{entry.filename} {entry.file_size} {entry.CRC:08x}" for entry in entries)
    known = KNOWN.get(path.name)
    if known and (path.stat().st_size, fingerprint) != (known.size, known.digest):
        raise WorkbookError(
            f"{label} is not the archive that was published under this name (its size or its list of files differs): "
            f"fetch it again, or unpack your own version as a folder {path.stem}."
        )
    return Store(path, label, tuple(entry.filename for entry in entries), fingerprint)


def _reason(error: Exception) -> str:
    """What went wrong, without the path that the system puts into its messages."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _walk(folder: Path) -> Iterable[Path]:
    """All files below, hidden ones left out."""
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(here, name) for name in files if not name.startswith("."))


def _open(path: Path, process: int) -> zipfile.ZipFile:
    stat = path.stat()
    return _opened(path, stat.st_mtime_ns, stat.st_size, process)


@lru_cache(maxsize=16)
def _opened(path: Path, changed: int, size: int, process: int) -> zipfile.ZipFile:
    """One handle per file version and process: forked workers must not share a file position."""
    return zipfile.ZipFile(path)
