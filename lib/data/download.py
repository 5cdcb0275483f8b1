"""Files from a network: resumed after a stop, checked by their hash, and in place only when they are whole."""

import hashlib
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

from lib.errors import WorkbookError
from lib.progress import Bar

MEGABYTE = 1 << 20
TRIES = 4  # times that a broken transfer is taken up again
PATIENCE = 60  # seconds without a byte
ALGORITHMS = {32: "md5", 64: "sha256"}  # by hexadecimal digits


def fetch_file(url: str, target: Path, checksum: str) -> Path:
    """The file at `url` as `target`. A transfer that breaks off is taken up where it stopped, in the next run too.

    checksum: MD5 or SHA-256 in hexadecimal. What has arrived waits as `<target>.part`; it gets its name when its hash
    is right. Raises WorkbookError for another hash and OSError where the network gives up.
    """
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and has_checksum(target, checksum):
        return target
    for left in reversed(range(TRIES)):
        try:
            if _transfer(url, part, target.name):
                break
        except (OSError, HTTPException) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
            if refused or not left:
                raise
    else:
        raise OSError(f"the transfer of {target.name} broke off {TRIES} times")
    check_and_place(part, target, checksum)
    return target


def check_and_place(part: Path, target: Path, checksum: str) -> None:
    """Give the whole file `part` its name, or remove it and raise where its hash is another."""
    if not has_checksum(part, checksum):
        part.unlink()
        raise WorkbookError(f"{target.name} did not arrive as it was published (its hash differs): fetch it again.")
    part.replace(target)


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file has this MD5 or SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, ALGORITHMS[len(checksum)]).hexdigest() == checksum


def _transfer(url: str, part: Path, label: str) -> bool:
    """Add to `part` what is missing of the file at `url`; whether it is as long as announced now."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing left to send: it was whole already, or is not this file
            raise
        return True
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + start * resumed if length else None
        with part.open("ab" if resumed else "wb") as out:
            _copy(response, out, label, total)
    return total is None or part.stat().st_size == total


def _copy(response: object, out: object, label: str, total: int | None) -> None:
    bar = Bar(f"fetching {label} (MB)", total and -(-total // MEGABYTE))
    try:
        while block := response.read(MEGABYTE):
            out.write(block)
            bar.update(max(1, out.tell() // MEGABYTE))
    finally:
        bar.close()


def extract_tar(packed: tarfile.TarFile, folder: Path) -> None:
    """All members of a tar archive into a folder, which none of them may leave.

    Python before 3.11.4 has no filter for that; there plain files and folders inside are all that is taken.
    """
    if hasattr(tarfile, "data_filter"):
        packed.extractall(folder, filter="data")
        return
    for member in packed.getmembers():
        inside = (folder / member.name).resolve().is_relative_to(folder.resolve())
        if not inside or not (member.isfile() or member.isdir()):
            raise tarfile.ExtractError(f"'{member.name}' is no plain file inside the archive")
    packed.extractall(folder)


def unpack(archive: Path, folder: Path, inside: str) -> None:
    """The folder `inside` a tar or zip archive as `folder`, there only when it is whole; the archive is removed."""
    mark = f".unpack-{folder.name}-"
    for old in folder.parent.glob(f"{mark}*"):  # left by a killed run
        shutil.rmtree(old, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix=mark, dir=folder.parent))
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                packed.extractall(scratch)
        else:
            with tarfile.open(archive) as packed:
                extract_tar(packed, scratch)
        (scratch / inside).replace(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    archive.unlink()
