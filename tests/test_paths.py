import os
import platform

import pytest

from lib import paths
from lib.paths import atomic, data_root


def test_success_moves_the_whole_file(tmp_path):
    target = tmp_path / "folder" / "result.txt"
    with atomic(target) as scratch:
        scratch.write_text("all")
        assert not target.exists()
    assert target.read_text() == "all"
    assert [path.name for path in target.parent.iterdir()] == ["result.txt"]


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "result.txt"
    target.write_text("old")

    def fails():
        with atomic(target) as scratch:
            scratch.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert target.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_what_a_killed_process_left_is_swept(tmp_path):
    dead = tmp_path / f".result-{platform.node()}-999999999-abc.txt"
    living = tmp_path / f".result-{platform.node()}-{os.getppid()}-abc.txt"
    elsewhere = tmp_path / ".result-another.machine-999999999-abc.txt"
    other = tmp_path / f".another-{platform.node()}-999999999-abc.txt"
    for path in (dead, living, elsewhere, other):
        path.write_text("half")
    with atomic(tmp_path / "result.txt") as scratch:
        scratch.write_text("all")
    assert not dead.exists()
    assert all(path.exists() for path in (living, elsewhere, other))


def test_the_data_root_counts_from_the_checkout(monkeypatch):
    monkeypatch.setenv("WORKBOOK_DATA", "../shared/data")
    assert data_root() == (paths.ROOT.parent / "shared" / "data").resolve()
    monkeypatch.delenv("WORKBOOK_DATA")
    assert data_root().parts[-2:] == (".cache", "robust-faces-workbook")
