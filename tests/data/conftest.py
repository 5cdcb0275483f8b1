"""Miniatures of real layouts, and a guard: no test of this room reaches the network."""

import io
import urllib.request
import zipfile

import numpy as np
import pytest
from PIL import Image

from lib.data.readers import archives


def picture(value=0, size=(12, 12), mode="RGB", kind="PNG"):
    """The bytes of an image filled with `value`; size is (width, height)."""
    out = io.BytesIO()
    Image.new(mode, size, (value,) * 3 if mode == "RGB" else value).save(out, kind)
    return out.getvalue()


def write(base, files):
    """Write {relative path: bytes or text} below a folder."""
    for name, content in files.items():
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return base


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            out.writestr(name, content)
    return path


def landmarks(shift=0.0):
    """A .tem text whose five template points make a plausible face in a 1350x1350 picture."""
    points = np.full((189, 2), 600.0)
    for at, point in {0: (560, 545), 1: (776, 545), 54: (645, 640), 60: (685, 640), 55: (665, 690)}.items():
        points[at] = point
    points[87], points[93] = (590, 775), (740, 775)
    rows = "\n".join(f"{x + shift} {y}" for x, y in points)
    return f"189\n{rows}\n1\n0\n2\n0 0\n"


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("tests do not use the network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data root, in which any archive counts as published."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("WORKBOOK_DATA", str(folder))
    monkeypatch.setattr(archives, "KNOWN", {})
    return folder
