import pytest
import torch

from lib.data import load, without_people
from lib.errors import WorkbookError
from tests.conftest import needs_data
from tests.data.conftest import picture, write, write_zip
from tests.data.test_pairs import LIST

PEOPLE = {f"lfw/{who}/{who}_000{k}.jpg": picture(9, (112, 112), kind="JPEG") for who in ("Ada", "Bob") for k in (1, 2)}


def check_protocol(images, pairs, per_kind, folds=10):
    """Ten folds of as many genuine as impostor pairs, whose kind agrees with the labels, without repetition."""
    assert torch.equal(images.labels[pairs.first] == images.labels[pairs.second], pairs.same)
    for fold in range(folds):
        here = pairs.same[pairs.fold == fold]
        assert (here.sum(), (~here).sum()) == (per_kind, per_kind)
    assert (pairs.first != pairs.second).all()


def test_lfw_miniature_with_and_without_pairs(root):
    write_zip(root / "lfw112.zip", PEOPLE)
    alone = load("lfw")
    assert (len(alone), alone.classes, alone.pairs) == (4, ["Ada", "Bob"], {})
    assert alone.source == "data root: lfw112.zip"
    write(root, {"lfw_pairs.txt": LIST})
    images = load("lfw")
    check_protocol(images, images.pairs["view2"], 1, folds=2)
    assert images.fingerprint != alone.fingerprint
    assert images.images().shape == (4, 3, 112, 112)
    assert images.names[0] == "lfw/Ada/Ada_0001.jpg"


def test_cfp_miniature(root):
    files = {f"cfp112/Data/Images/{p:03d}/{pose}/{k:02d}.jpg": picture(p, (112, 112), kind="JPEG")
             for p in (1, 2) for pose in ("frontal", "profile") for k in (1, 2)}  # fmt: skip
    frontal, profile = ([name for name in files if pose in name] for pose in ("frontal", "profile"))
    for letter, names in (("F", frontal), ("P", profile)):
        rows = "\n".join(f"{at} ../{name.removeprefix('cfp112/')}" for at, name in enumerate(names, 1))
        files[f"cfp112/Protocol/Pair_list_{letter}.txt"] = rows
    for fold in range(1, 11):
        for kind, same, diff in (("FF", "1,2\n3,4", "1,3\n2,4"), ("FP", "1,2\n3,4", "1,3\n4,1")):
            files[f"cfp112/Protocol/Split/{kind}/{fold:02d}/same.txt"] = same
            files[f"cfp112/Protocol/Split/{kind}/{fold:02d}/diff.txt"] = diff
    write_zip(root / "cfp112.zip", files)
    images = load("cfp")
    check_protocol(images, images.pairs["FF"], 2)
    check_protocol(images, images.pairs["FP"], 2)
    pose = images.attributes["pose"]
    assert (pose[images.pairs["FP"].first] == 0).all()
    assert (pose[images.pairs["FP"].second] == 1).all()
    files["cfp112/Protocol/Split/FP/03/same.txt"] = "1,99"
    write(root, {f"cfp112/{name}": content for name, content in files.items()})
    (root / "cfp112.zip").unlink()
    with pytest.raises(WorkbookError, match="a line '1,99' that names no pair"):
        load("cfp")


def test_celeba_sub_miniature(root):
    names = {
        f"celeba_sub112/{who}/{at:06d}.jpg": picture(at) for who, at in (("07", 1), ("07", 2), ("08", 3), ("08", 4))
    }
    index = "# comment\n000001.jpg 7 0 1\n000002.jpg 7 0 1\n000003.jpg 8 2 1\n000004.jpg 8 2 1\n"
    lists = {"celeba_sub112/index.txt": index, "celeba_sub112/suspect.txt": "# why\n000002.jpg 7 0.1\n"}
    write_zip(root / "celeba_sub112.zip", names | lists)
    images = load("celeba_sub")
    assert [name[-10:] for name in images.names] == ["000001.jpg", "000003.jpg", "000004.jpg"]
    assert {part: index.tolist() for part, index in images.splits.items()} == {"train": [0], "test": [1, 2]}
    assert len(load("celeba_sub", suspect=True)) == 4


@needs_data("lfw112.zip", "lfw_pairs.txt")
def test_real_lfw():
    images = load("lfw", where="root")
    assert (len(images), len(images.classes)) == (13233, 5749)
    check_protocol(images, images.pairs["view2"], 300)
    assert images.labels.bincount().ge(2).sum() == 1680
    some = images.images([0, 13232])
    assert some.shape == (2, 3, 112, 112)
    assert 0.2 < some.mean() < 0.8
    thin = images.pairs["view2"].thin(400)
    kinds = [
        images.pairs["view2"].same.nonzero().flatten()[::15],
        (~images.pairs["view2"].same).nonzero().flatten()[::15],
    ]
    assert torch.equal(thin.first, images.pairs["view2"].take(torch.cat(kinds).sort().values).first)
    rest = without_people(images, thin)
    assert len(rest) > 4000
    assert not set(images.labels[rest].tolist()) & set(images.labels[thin.first].tolist())


@needs_data("cfp112.zip")
def test_real_cfp():
    images = load("cfp", where="root")
    assert (len(images), len(images.classes)) == (7000, 500)
    assert images.attributes["pose"].bincount().tolist() == [5000, 2000]
    for kind in ("FF", "FP"):
        check_protocol(images, images.pairs[kind], 350)
    assert images.attributes["pose"][images.pairs["FP"].second].all()
    assert not images.attributes["pose"][images.pairs["FF"].second].any()


@needs_data("celeba_sub112.zip")
def test_real_celeba_sub():
    images = load("celeba_sub", where="root")
    assert (len(images), len(images.classes)) == (6272 - 146, 299)
    assert sum(len(index) for index in images.splits.values()) == len(images)
    assert len(load("celeba_sub", where="root", suspect=True)) == 6272


@needs_data("att_faces.zip")
def test_real_att():
    images = load("att", where="root")
    assert images.labels.bincount().tolist() == [10] * 40
    assert images.classes[1] == "s2"
    assert images.images().shape == (400, 1, 112, 92)
