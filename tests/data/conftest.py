"""Miniatures of real layouts, and a guard: no test of this room reaches the network."""

import io
import tarfile
import threading
import urllib.request
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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
    real = urllib.request.urlopen

    def refuse(where, *args, **kwargs):
        url = where if isinstance(where, str) else where.full_url
        if not url.startswith("http://127.0.0.1:"):  # a stand-in server of the test's own
            raise OSError("tests do not use the network")
        return real(where, *args, **kwargs)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An empty data root, in which any archive counts as published."""
    folder = tmp_path / "root"
    folder.mkdir()
    monkeypatch.setenv("WORKBOOK_DATA", str(folder))
    monkeypatch.setattr(archives, "KNOWN", {})
    return folder


class StandIn:
    """A server on this machine: `files` by path; it breaks off after `most` bytes of an answer when told to."""

    def __init__(self):
        self.files, self.asked, self.most = {}, [], None
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                content = stand_in.files.get(self.path)
                stand_in.asked.append((self.path, self.headers.get("Range")))
                if content is None:
                    return self.send_error(404)
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
                if start and start >= len(content):
                    return self.send_error(416)
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                self.wfile.write(content[start:][: stand_in.most])
                return None

            def log_message(self, *words):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def add(self, name, content):
        """The address of a file that this server gives out from now on."""
        self.files[f"/{name}"] = content
        return f"http://127.0.0.1:{self.server.server_port}/{name}"


@pytest.fixture
def server():
    made = StandIn()
    yield made
    made.server.shutdown()
    made.server.server_close()


def tar(files):
    """The bytes of a .tgz of {path: bytes or text}."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as packed:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))
    return out.getvalue()
