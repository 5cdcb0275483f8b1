import pytest

from lib.data import SETS, load
from lib.errors import WorkbookError
from tests.data.conftest import picture, write, write_zip


def test_unknown_name_route_and_option(root):
    with pytest.raises(WorkbookError, match="There is no set 'lwf': choose from procedural, digits, lfw"):
        load("lwf")
    with pytest.raises(WorkbookError, match="where='cloud' is not a route to data: choose from auto, root"):
        load("lfw", where="cloud")
    with pytest.raises(WorkbookError, match="'celeba_sub' has no option 'colour': its options are size, suspect"):
        load("celeba_sub", colour=True)
    with pytest.raises(WorkbookError, match="'cifar10' has no option 'source': it has none"):
        load("cifar10", source="x")


@pytest.mark.parametrize("size", [0, -3, "112", 1.5, None])
def test_a_size_that_is_none(root, size):
    with pytest.raises(WorkbookError, match="size is a number of pixels"):
        load("lfw", size=size)


def test_missing_data_says_what_was_looked_for_and_how_to_get_it(root, tmp_path, monkeypatch):
    with pytest.raises(
        WorkbookError, match=r"where cfp112.zip or cfp112 was looked for: put it there or set .*cfpw.io"
    ):
        load("cfp")
    with pytest.raises(WorkbookError, match="'lfw' is not in the data root"):
        load("lfw", where="root")
    with pytest.raises(WorkbookError, match="'raf_db' is not in the data root"):
        load("raf_db", where="download")
    monkeypatch.delenv("WORKBOOK_DATA")
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    with pytest.raises(WorkbookError, match="WORKBOOK_DATA is not set"):
        load("cfp")


def test_a_root_that_does_not_exist(root, tmp_path, monkeypatch):
    with pytest.raises(WorkbookError, match=r"data root .*nowhere is not a folder"):
        load("lfw", root=tmp_path / "nowhere")
    monkeypatch.setenv("WORKBOOK_DATA", str(tmp_path / "typo"))
    with pytest.raises(WorkbookError, match=r"typo is not a folder"):
        load("lfw")


def test_another_root(root, tmp_path):
    write_zip(tmp_path / "att_faces.zip", {"att_faces/s1/1.pgm": picture(3, (92, 112), "L", "PPM")})
    images = load("att", root=tmp_path)
    assert images.source == "data root: att_faces.zip"
    assert str(tmp_path) not in repr([images, images.names, images.fingerprint])
    assert str(tmp_path) not in repr(images.read)


def test_a_zip_goes_before_a_folder(root):
    write_zip(root / "att_faces.zip", {"att_faces/s1/1.pgm": picture(3, (92, 112), "L", "PPM")})
    write(root, {"att_faces/s1/1.pgm": picture(), "att_faces/s1/2.pgm": picture()})
    assert len(load("att")) == 1


def test_a_damaged_archive_is_never_passed_over(root):
    """A corrupt LFW is an error, not a reason to download another one."""
    write(root, {"lfw112.zip": b"PK broken"})
    with pytest.raises(WorkbookError, match=r"^lfw112.zip is not a readable zip"):
        load("lfw")
    (root / "lfw112.zip").unlink()
    (root / "lfw112").mkdir()
    with pytest.raises(WorkbookError, match="holds no image"):
        load("lfw")


def test_faces_have_the_procedural_stand_in(root):
    pytest.importorskip("lib.data.procedural_faces.dataset", reason="the procedural faces are not written yet")
    images = load("lfw", where="embedded")
    assert images.source.startswith("embedded")
    assert load("celeba_sub", where="embedded", suspect=True).name == images.name
    with pytest.raises(WorkbookError, match="no option 'colour'"):
        load("procedural", colour=1)


def test_every_set_says_how_to_get_it():
    for name, entry in SETS.items():
        assert entry.ask or not entry.files, name
        assert bool(entry.fetch) == bool(entry.library) == bool(entry.fetched), name
        assert entry.stand_in[0] in SETS, name
