import hashlib
import random
import subprocess
import sys
import tarfile

import pytest

from lib.data.download import fetch_file, unpack
from lib.errors import WorkbookError
from lib.paths import ROOT
from tests.data.conftest import tar, write_zip

CONTENT = bytes(range(256)) * 40
SHA, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.mark.parametrize("checksum", [SHA, MD5])
def test_a_file_arrives_whole_and_once(server, tmp_path, checksum):
    url = server.add("a.bin", CONTENT)
    for _ in range(2):
        assert fetch_file(url, tmp_path / "new" / "a.bin", checksum).read_bytes() == CONTENT
    assert server.asked == [("/a.bin", None)]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_transfer_that_breaks_off_goes_on_where_it_was(server, tmp_path):
    server.most = 4000
    url = server.add("a.bin", CONTENT)
    assert fetch_file(url, tmp_path / "a.bin", SHA).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=4000-", "bytes=8000-"]


def test_the_next_run_goes_on_too(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:777])
    fetch_file(server.add("a.bin", CONTENT), tmp_path / "a.bin", SHA)
    assert server.asked == [("/a.bin", "bytes=777-")]
    (tmp_path / "b.bin.part").write_bytes(CONTENT)  # killed between the last byte and the name
    assert fetch_file(server.add("b.bin", CONTENT), tmp_path / "b.bin", SHA).read_bytes() == CONTENT


def test_giving_up_leaves_what_came_but_not_under_its_name(server, tmp_path):
    server.most = 10
    with pytest.raises(OSError, match="broke off 4 times"):
        fetch_file(server.add("a.bin", CONTENT), tmp_path / "a.bin", SHA)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin.part"]


def test_another_content_is_refused_and_removed(server, tmp_path):
    url = server.add("a.bin", CONTENT[::-1])
    with pytest.raises(WorkbookError, match="a.bin did not arrive as it was published"):
        fetch_file(url, tmp_path / "a.bin", SHA)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OSError, match="404"):
        fetch_file(url + "x", tmp_path / "a.bin", SHA)
    assert len(server.asked) == 2


def test_unpacking_is_all_or_nothing(tmp_path):
    (tmp_path / "a.tgz").write_bytes(tar({"inner/1.txt": "one", "other/2.txt": "two"}))
    write_zip(tmp_path / "a.zip", {"inner/3.txt": "three"})
    (tmp_path / ".unpack-a-killed").mkdir()
    unpack(tmp_path / "a.tgz", tmp_path / "a", "inner")
    unpack(tmp_path / "a.zip", tmp_path / "b", "inner")
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")) == ["a/1.txt", "b/3.txt"]
    (tmp_path / "cut.tgz").write_bytes(tar({"inner/1.txt": random.Random(0).randbytes(9999)})[:5000])
    with pytest.raises((EOFError, tarfile.TarError)):
        unpack(tmp_path / "cut.tgz", tmp_path / "c", "inner")
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob(".unpack*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of later versions, which have the filter
def test_an_older_python_takes_only_what_stays_inside(tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    (tmp_path / "a.tgz").write_bytes(tar({"inner/1.txt": "one"}))
    unpack(tmp_path / "a.tgz", tmp_path / "a", "inner")
    assert (tmp_path / "a/1.txt").read_text() == "one"
    (tmp_path / "b.tgz").write_bytes(tar({"inner/1.txt": "one", "../out.txt": "two"}))
    with pytest.raises(tarfile.ExtractError, match="out.txt"):
        unpack(tmp_path / "b.tgz", tmp_path / "b", "inner")
    assert not list(tmp_path.rglob("out.txt"))
    assert not (tmp_path / "b").exists()


def test_a_killed_transfer_leaves_nothing_under_the_name(server, tmp_path):
    """The process dies in the middle of an answer."""
    url = server.add("a.bin", CONTENT)
    code = (
        "import os, pathlib, sys, lib.data.download as d\n"
        "d.Bar.update = lambda bar, done: os._exit(9)\n"
        "d.fetch_file(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])"
    )
    words = [sys.executable, "-c", code, url, str(tmp_path / "a.bin"), SHA]
    assert subprocess.run(words, cwd=ROOT, capture_output=True).returncode == 9
    assert not (tmp_path / "a.bin").exists()
    assert fetch_file(url, tmp_path / "a.bin", SHA).read_bytes() == CONTENT
