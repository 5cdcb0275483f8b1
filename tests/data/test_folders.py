import pytest

from lib.data import folder
from lib.errors import WorkbookError
from tests.data.conftest import picture, write, write_zip


def test_a_folder_per_person(tmp_path):
    files = {"anna/1.jpg": picture(10, (80, 60), kind="JPEG"), "bert/x.png": picture(20, (50, 90), "L")}
    images = folder(write(tmp_path / "mine", files | {"anna/notes.txt": "no image", ".hidden/1.png": picture()}))
    assert (images.classes, images.labels.tolist()) == (["anna", "bert"], [0, 1])
    assert images.images().shape == (2, 3, 112, 112)
    assert (images.name, images.source, images.shown) == ("mine", "folder: mine", False)
    assert images.names == ["anna/1.jpg", "bert/x.png"]
    assert folder(tmp_path / "mine", size=64, gray=True, shown=True).images().shape == (2, 1, 64, 64)


def test_flat_files_are_named_after_people(tmp_path):
    names = ["anna_1.jpg", "anna_2.jpg", "bert-01.png", "7.png"]
    images = folder(write(tmp_path, {name: picture() for name in names}))
    found = dict(zip(images.names, [images.classes[at] for at in images.labels], strict=True))
    assert found == {"anna_1.jpg": "anna", "anna_2.jpg": "anna", "bert-01.png": "bert", "7.png": "7"}


def test_a_zip_works_too(tmp_path):
    assert len(folder(write_zip(tmp_path / "mine.zip", {"a/1.png": picture()}))) == 1


def test_the_crop_is_the_centre(tmp_path):
    from tests.data.datasets.test_objects import np, png

    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    images = folder(write(tmp_path, {"a_1.png": png(wide)}), size=20)
    assert images.images().min() == 1


def test_wrong_folders_are_one_sentence(tmp_path):
    with pytest.raises(WorkbookError, match="There is no folder"):
        folder(tmp_path / "none")
    with pytest.raises(WorkbookError, match="holds no image"):
        folder(write(tmp_path, {"a.txt": "x"}))
    write(tmp_path, {"cut.jpg": picture(kind="JPEG")[:100]})
    with pytest.raises(WorkbookError, match=r"^cut.jpg in .* is not a whole image"):
        folder(tmp_path).images()
