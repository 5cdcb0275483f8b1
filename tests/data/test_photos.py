import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import folder, load, photos
from lib.data.__main__ import main
from lib.data.alignment import TEMPLATE, similarity
from lib.data.detection import Faces
from lib.data.photos import choose_face
from lib.data.readers.archives import open_store
from lib.data.readers.decode import ImageFiles, from_files
from lib.errors import WorkbookError
from lib.evaluation.verification import best_threshold
from lib.models import embed_all, load_recogniser
from lib.paths import data_root
from tests.conftest import needs_data
from tests.data.conftest import picture, write

BOXES = np.array([[0, 0, 20, 20], [50, 50, 60, 60], [80, 0, 130, 30]])
SCALE, SHIFT = 2, 30  # where the planted face lies: the template, twice as large, shifted


def planted(image, model=None):
    """A detector by colour: pictures without a bright pixel show no face, the others one at a known place."""
    found = np.asarray(image).max() > 128
    points = (TEMPLATE * SCALE + SHIFT)[None].repeat(found, 0)
    return Faces(np.zeros((int(found), 4)), points, np.ones(int(found)))


@pytest.fixture
def shot(tmp_path, monkeypatch):
    """Photographs of two people with dots at the five points, and one picture of nobody."""
    monkeypatch.setattr(photos, "find_faces", planted)
    monkeypatch.setattr(photos, "kept", lambda function, *given: function(*given))
    photo = Image.new("RGB", (300, 280))
    for x, y in (TEMPLATE * SCALE + SHIFT).round().astype(int):
        photo.paste((255, 255, 255), (x - 4, y - 4, x + 4, y + 4))
    base = tmp_path / "photos"
    for name in ("anna/1.png", "anna/1.jpg", "bert/x.png"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        photo.save(base / name)
    return write(base, {"anna/sky.png": picture(20, (60, 40))})


def check_dots(pixels):
    for x, y in TEMPLATE.round().astype(int):
        assert pixels[y - 1 : y + 2, x - 1 : x + 2].mean() > 0.6
    assert pixels.mean() < 0.2


def test_the_face_that_is_meant():
    faces = Faces(BOXES, np.zeros((3, 5, 2)), np.ones(3))
    assert choose_face(faces, (120, 120)) == 2
    assert choose_face(faces, (120, 120), "centre") == 1


def test_a_folder_of_photographs_is_aligned(shot):
    images = folder(shot, align=True)
    assert images.names == ["anna/1.jpg", "anna/1.png", "bert/x.png"]
    assert images.left_out == ("anna/sky.png",)
    assert images.source == "folder: photos (aligned here; 1 without a face left out)"
    for image in images.images():
        check_dots(image[0])
    assert folder(shot, align=True, size=56).images().shape == (3, 3, 56, 56)
    assert images.fingerprint != folder(shot).fingerprint


def test_the_command_writes_crops_and_the_list_of_pictures_without_a_face(shot, tmp_path, capsys):
    out = tmp_path / "faces"
    assert main(["align", str(shot), str(out)]) == 0
    told = capsys.readouterr().out
    assert "3 of 4 pictures show a face; none in anna/sky.png." in told
    written = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*"))
    assert written == ["anna/1-2.png", "anna/1.png", "bert/x.png", "no_face.txt"]
    assert (out / "no_face.txt").read_text() == "anna/sky.png\n"
    faces = folder(out)
    assert faces.classes == ["anna", "bert"]
    check_dots(faces.images([0])[0, 0])


def test_wrong_input_is_one_sentence(shot, tmp_path, capsys):
    assert main(["align", str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "There is no folder" in capsys.readouterr().err
    assert main(["align", str(shot), str(shot / "out")]) == 2
    assert "lies inside" in capsys.readouterr().err
    with pytest.raises(WorkbookError, match="choose='best' names no face"):
        folder(shot, align=True, choose="best")
    with pytest.raises(WorkbookError, match="need a size"):
        folder(shot, align=True, size=None)
    with pytest.raises(WorkbookError, match="No face was found in any of the 1 pictures of sky"):
        folder(write(tmp_path / "sky", {"a/1.png": picture()}), align=True)
    with pytest.raises(WorkbookError, match=r"cut.jpg in bad is not a whole image"):
        folder(write(tmp_path / "bad", {"a/cut.jpg": picture(kind="JPEG")[:100]}), align=True)


@needs_data("lfw_raw_fold10.zip", "lfw112.zip", "lfw_pairs.txt")
def test_raw_photographs_are_verified_like_the_prepared_crops():
    """40 pairs of LFW's tenth fold; `python -m benchmarks.alignment` does all 600."""
    lfw = load("lfw", where="root")
    pairs = lfw.pairs["view2"].take(slice(5400, 6000)).thin(40)
    used = torch.cat([pairs.first, pairs.second])
    store = open_store(data_root() / "lfw_raw_fold10.zip")
    files = [f"lfw_raw/{lfw.names[at].removeprefix('lfw/')}" for at in used.tolist()]
    points = photos.points_of(store, files, "centre", "")
    assert not points.isnan().any()
    matrices = [similarity(face, TEMPLATE) for face in points.numpy()]
    crops = from_files("raw", ImageFiles(store, files, size=112, matrices=matrices), files).images()
    model = load_recogniser("mobilefacenet")
    first, second = embed_all(model, crops).view(2, len(pairs), -1)
    scores = (first * second).sum(1)
    accepted = scores > best_threshold(scores, pairs.same)
    assert (accepted == pairs.same).float().mean() >= 0.97
    prepared = embed_all(model, lfw.images(used))
    assert (torch.cat([first, second]) * prepared).sum(1).median() > 0.85
