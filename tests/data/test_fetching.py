"""Every set that can be fetched, fetched from a stand-in server with the layout of the real one."""

import hashlib
import json
import pickle
import re
import shutil

import gdown
import numpy as np
import pytest
import torch
import torchvision
from sklearn.datasets import _lfw, _olivetti_faces
from sklearn.datasets._base import RemoteFileMetadata

from lib.data import load, photos
from lib.data.__main__ import main
from lib.data.alignment import TEMPLATE
from lib.data.datasets.licensed import CELEBA_PART
from lib.data.detection import Faces
from lib.data.loading import fetch
from lib.data.registry import PAGES, SETS, WEIGHTS, touched
from lib.errors import MissingData, WorkbookError
from lib.paths import NOTEBOOKS
from tests.data.conftest import picture, tar, write
from tests.data.datasets.test_objects import png
from tests.data.test_pairs import LIST

MEAN = 90.0  # where the stand-in detector sees the face: the template, this far to the right


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setattr(photos, "kept", lambda function, *given: function(*given))


@pytest.fixture
def lfw(server, monkeypatch):
    """scikit-learn's addresses, with a miniature in which one of four pictures shows no face."""
    shades = {"Ada_0001": 40, "Ada_0002": 80, "Bob_0001": 120, "Bob_0002": 250}
    files = {}
    for name, shade in shades.items():
        pixels = np.zeros((250, 250, 3), np.uint8)
        pixels[:112, int(MEAN) : int(MEAN) + 112] = shade
        files[f"lfw_funneled/{name[:3]}/{name}.jpg"] = png(pixels)
    content = tar(files | {"lfw_funneled/pairs_01_train.txt": "no image"})

    def see(image):
        found = np.asarray(image).max() < 200
        return Faces(np.zeros((int(found), 4)), (TEMPLATE + [MEAN, 0])[None].repeat(found, 0), np.ones(int(found)))

    monkeypatch.setattr(photos, "find_faces", see)
    remote = [("FUNNELED_ARCHIVE", "lfw-funneled.tgz", content), ("TARGETS", "pairs.txt", LIST.encode())]
    for variable, name, data in remote:
        made = RemoteFileMetadata(name, server.add(name, data), hashlib.sha256(data).hexdigest())
        monkeypatch.setattr(_lfw, variable, (made,) if variable == "TARGETS" else made)
    return server


def test_lfw_is_fetched_aligned_and_has_its_official_pairs(root, lfw):
    images = load("lfw")
    assert (images.source, len(images), len(images.pairs["view2"])) == ("data root: lfw_funneled", 4, 4)
    assert torch.allclose(images.images()[:3, 0, 56, 56] * 255, torch.tensor([40.0, 80, 120]), atol=1)
    assert images.images()[:3].flatten(1).std(1).max() < 0.01  # the face fills the crop
    assert images.images()[3].std() > 0.01  # no face: the mean crop, which shows more than the square
    assert sorted(path.name for path in root.iterdir()) == [".fetch-lfw_funneled.lock", "lfw_funneled", "pairs.txt"]
    asked = len(lfw.asked)
    assert torch.equal(load("lfw").images(), images.images())
    assert len(lfw.asked) == asked


def test_a_stopped_fetch_goes_on_and_is_no_set(root, lfw):
    whole, lfw.files["/lfw-funneled.tgz"] = lfw.files["/lfw-funneled.tgz"], b"other"
    with pytest.raises(WorkbookError, match="lfw-funneled.tgz did not arrive as it was published"):
        load("lfw")
    lfw.most, lfw.files["/lfw-funneled.tgz"] = 5, whole
    with pytest.raises(MissingData, match=r"download by scikit-learn failed \(OSError\)"):
        load("lfw")
    assert not (root / "lfw_funneled").exists()
    lfw.most = None
    assert len(load("lfw")) == 4
    assert ("/lfw-funneled.tgz", "bytes=20-") in lfw.asked


def test_olivetti_serves_as_att(root, server, monkeypatch):
    from scipy.io import savemat

    savemat(root / "x.mat", {"faces": np.arange(400, dtype=np.uint8)[None].repeat(4096, 0)})
    data = (root / "x.mat").read_bytes()
    (root / "x.mat").unlink()
    remote = RemoteFileMetadata("olivettifaces.mat", server.add("o.mat", data), hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(_olivetti_faces, "FACES", remote)
    images = load("att", size=112)
    assert (images.name, images.images([0]).shape) == ("olivetti", (1, 1, 112, 112))
    assert len(load("olivetti")) == 400
    assert images.source == load("att").source == "data root: olivetti_py3.pkz"


def test_cifar(root, server, monkeypatch):
    kind = torchvision.datasets.CIFAR10
    batch = {"data": np.arange(4 * 3072, dtype=np.int64).astype(np.uint8).reshape(4, 3072), "labels": [0, 1, 1, 0]}
    texts = {"one": pickle.dumps(batch), "two": pickle.dumps(batch), "meta": pickle.dumps({"label_names": ["a", "b"]})}
    md5 = {name: hashlib.md5(text).hexdigest() for name, text in texts.items()}
    packed = tar({f"{kind.base_folder}/{name}": text for name, text in texts.items()})
    monkeypatch.setattr(kind, "train_list", [["one", md5["one"]]])
    monkeypatch.setattr(kind, "test_list", [["two", md5["two"]]])
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": "label_names", "md5": md5["meta"]})
    monkeypatch.setattr(kind, "url", server.add("cifar.tgz", packed))
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(packed).hexdigest())
    images = load("cifar10")
    assert (len(images), images.source) == (8, "data root: cifar-10-batches-py")
    assert not (root / kind.filename).exists()


def celeba_files(listed):
    """CelebA's published files for the given image numbers, two people by turns."""
    names = [f"{number:06d}.jpg" for number in listed]
    points = [f"{name} " + " ".join(str(int(v)) for v in (TEMPLATE + 20).round().flatten()) for name in names]
    return {
        "identity_CelebA.txt": "\n".join(f"{name} {7201 + at % 2}" for at, name in enumerate(names)),
        "list_eval_partition.txt": "\n".join(f"{name} {at % 3}" for at, name in enumerate(names)),
        "list_landmarks_align_celeba.txt": "\n".join([str(len(names)), "lefteye_x ...", *points]),
    }, {f"img_align_celeba/{name}": picture(9, (178, 218), kind="JPEG") for name in names}


def test_the_part_of_celeba_comes_from_the_whole(root, tmp_path, monkeypatch):
    from tests.data.conftest import write_zip

    monkeypatch.setattr("lib.data.datasets.licensed.CELEBA_PART", tmp_path / "part.txt")
    (tmp_path / "part.txt").write_text("1 3 -4\n5\n")
    texts, images = celeba_files(range(1, 7))
    drive = write(tmp_path / "drive", texts)
    write_zip(drive / "img_align_celeba.zip", images)
    rows = [(f"id {path.name}", hashlib.md5(path.read_bytes()).hexdigest(), path.name) for path in drive.iterdir()]
    monkeypatch.setattr(torchvision.datasets.CelebA, "file_list", [*rows, ("id x", "0" * 32, "list_attr_celeba.txt")])
    wanted, broken = [], []

    def download(id, output, resume):
        wanted.append(id)
        if broken:
            raise OSError("too many users")
        shutil.copy(drive / id.removeprefix("id "), output)

    monkeypatch.setattr(gdown, "download", download)
    broken.append(True)
    with pytest.raises(MissingData, match="download by torchvision failed"):
        load("celeba_sub")
    assert not (root / "celeba").exists()
    broken.clear()
    part = load("celeba_sub")
    assert "id x" not in wanted
    assert [name[-10:] for name in part.names] == ["000001.jpg", "000003.jpg", "000005.jpg"]
    assert part.classes == ["07201"]
    assert part.images([0]).shape == (1, 3, 112, 112)
    assert {key: at.tolist() for key, at in part.splits.items()} == {"train": [0], "val": [2], "test": [1]}
    assert len(load("celeba_sub", suspect=True)) == 4
    assert len(load("celeba")) == 6
    (root / "celeba/img_align_celeba/000003.jpg").unlink()
    with pytest.raises(WorkbookError, match="celeba lacks 1 images, such as 000003.jpg"):
        load("celeba_sub")


def test_the_fixed_list_of_the_part():
    numbers = [int(word) for word in CELEBA_PART.read_text().split()]
    assert len({abs(number) for number in numbers}) == len(numbers) == 6272
    assert sum(number < 0 for number in numbers) == 146
    assert len(CELEBA_PART.read_text().splitlines()) == 299


def test_the_command(root, lfw, capsys):
    assert main(["fetch", "lfw", "cfp"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "lfw: here now, lfw_funneled"
    assert told[2].startswith("cfp: not to be downloaded; get CFP from")
    assert main(["fetch", "lfw"]) == 0
    assert capsys.readouterr().out == "lfw: here already, lfw_funneled\n"
    assert main(["fetch", "cifar10", "lwf"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[0].startswith("cifar10: The set 'cifar10' is not in the data root, and its download by torchvision")
    assert errors[1].startswith("lwf: 'lwf' is no set that can be fetched; these can: lfw, celeba_sub, att")
    with pytest.raises(WorkbookError, match="no set that can be fetched"):
        fetch("cfp")


def test_the_table_of_pages_is_what_the_pages_load():
    """Names that stand in a page's calls; what a study loads for a page is named here."""
    by_study = {
        "faces_for(": ("lfw", "celeba_sub"),
        "pictures_for(": ("cifar10",),
        "shown_faces(": ("london",),
        "dar.page_study(": ("lfw", "celeba_sub", "fer2013"),
        "dar.DARStudy(": ("lfw", "celeba_sub", "fer2013"),
        "ssl.study_for(": ("cifar10",),
        "ssl.SSLStudy(": ("cifar10",),
        'domain="faces"': ("lfw", "celeba_sub", "fer2013"),
        "ssl.faces_under(": ("lfw", "celeba_sub", "fer2013"),
    }
    found = {}
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        names = re.findall(
            r"(?:for_page|load|load_or_reason|present|pictures_for|pairs_for)\((?:run, )?(?:scale, )?\"(\w+)\"", code
        )
        names += [name for call, sets in by_study.items() if call in code for name in sets]
        for name in names:
            found.setdefault(name, set()).add(path.name[:2])
    real = {name: set(pages) for name, pages in PAGES.items() if SETS[name].files}
    assert real == {name: pages for name, pages in found.items() if name in SETS and SETS[name].files}
    assert all(set(each.pages) <= {path.name[:2] for path in NOTEBOOKS.glob("*.ipynb")} for each in WEIGHTS)


def test_page_numbers_in_words():
    assert touched(("00", "01", "02", "05", "07", "08")) == "00-02, 05, 07, 08"
    assert touched(()) == ""
