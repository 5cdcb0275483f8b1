import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.data.readers.archives import KNOWN, open_store, sha256
from lib.data.readers.decode import ImageFiles
from lib.errors import WorkbookError
from lib.paths import data_root
from tests.conftest import needs_data
from tests.data.conftest import picture, write, write_zip

FILES = {"a/1.png": picture(10), "a/2.png": picture(20), "notes.txt": "hello"}


def test_zip_and_folder_hold_the_same(tmp_path):
    for store in (open_store(write_zip(tmp_path / "z.zip", FILES)), open_store(write(tmp_path / "f", FILES))):
        assert sorted(store.names) == sorted(FILES)
        assert store.bytes("a/1.png") == FILES["a/1.png"]
        assert store.text("notes.txt") == "hello"
        assert store.find("1.png") == "a/1.png"
        assert store.find("ng") is None
        assert str(tmp_path) not in repr(store)


def test_fingerprint_follows_the_content(tmp_path):
    first = open_store(write_zip(tmp_path / "1.zip", FILES)).fingerprint
    assert open_store(write_zip(tmp_path / "2.zip", FILES)).fingerprint == first
    assert open_store(write_zip(tmp_path / "3.zip", FILES | {"notes.txt": "hellO"})).fingerprint != first
    folder = write(tmp_path / "f", FILES)
    before = open_store(folder).fingerprint
    write(folder, {"notes.txt": "longer than before"})
    assert open_store(folder).fingerprint != before


def test_a_replaced_archive_is_read_anew(tmp_path):
    path = write_zip(tmp_path / "z.zip", FILES)
    assert open_store(path).text("notes.txt") == "hello"
    path.unlink()
    write_zip(path, FILES | {"notes.txt": "another text"})
    assert open_store(path).text("notes.txt") == "another text"


def test_no_zip_is_one_sentence(tmp_path):
    write(tmp_path, {"z.zip": "this is not a zip"})
    with pytest.raises(WorkbookError, match=r"^z.zip is not a readable zip archive"):
        open_store(tmp_path / "z.zip")


def test_a_cut_zip_is_one_sentence(tmp_path):
    path = write_zip(tmp_path / "z.zip", FILES)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WorkbookError, match=r"^z.zip is not a readable"):
        open_store(path)


def test_flipped_bytes_are_noticed_by_their_crc(tmp_path):
    path = write_zip(tmp_path / "z.zip", FILES)
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 255
    path.write_bytes(content)
    with pytest.raises(WorkbookError, match=r"^a/1.png in z.zip cannot be read"):
        open_store(path).bytes("a/1.png")


def test_a_missing_member_is_named(tmp_path):
    for store in (open_store(write_zip(tmp_path / "z.zip", FILES)), open_store(write(tmp_path / "f", FILES))):
        with pytest.raises(WorkbookError, match=r"has no file a/9.png") as error:
            store.bytes("a/9.png")
        assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("content", [picture(3, (64, 64), kind="JPEG")[:300], b"", b"not an image"])
def test_a_truncated_image_is_named(tmp_path, content):
    store = open_store(write_zip(tmp_path / "z.zip", {"cut.jpg": content}))
    with pytest.raises(WorkbookError, match=r"^cut.jpg in z.zip is not a whole image") as error:
        ImageFiles(store, ["cut.jpg"]).read([0])
    assert "0x" not in str(error.value)


def test_a_known_name_with_other_content_is_refused(tmp_path):
    with pytest.raises(WorkbookError, match=r"^lfw112.zip is not the archive that was published"):
        open_store(write_zip(tmp_path / "lfw112.zip", FILES))


def test_threads_share_one_archive(tmp_path):
    many = {f"{at}.txt": str(at) * 5000 for at in range(60)}
    store = open_store(write_zip(tmp_path / "z.zip", many))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(store.text, many)) == list(many.values())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_reads_with_its_own_handle(tmp_path):
    many = {f"{at}.txt": str(at) * 5000 for at in range(200)}
    store = open_store(write_zip(tmp_path / "z.zip", many))
    child = os.fork()
    right = all(store.text(name) == text for name, text in many.items())
    if not child:
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert right


@needs_data(*KNOWN)
def test_the_known_archives_are_as_published():
    for name, known in KNOWN.items():
        path = data_root() / name
        assert (path.stat().st_size, sha256(path)) == (known.size, known.sha256)
        if zipfile.is_zipfile(path):
            assert open_store(path).fingerprint == known.digest
