"""Miniatures of the layouts that the owners of licensed sets publish."""

import pytest
import torch

from lib.data import load
from lib.data.datasets.licensed import RAF_EXPRESSIONS
from lib.errors import WorkbookError
from tests.data.conftest import picture, write

CELEBA = {
    **{f"celeba/img_align_celeba/00000{k}.jpg": picture(k * 20, (178, 218), kind="JPEG") for k in (1, 2, 3)},
    "celeba/identity_CelebA.txt": "000001.jpg 2880\n000002.jpg 77\n000003.jpg 2880\n",
    "celeba/list_eval_partition.txt": "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n",
}


def test_celeba(root):
    write(root, CELEBA)
    images = load("celeba")
    assert images.classes == ["77", "2880"]
    assert images.labels.tolist() == [1, 0, 1]
    assert {part: index.tolist() for part, index in images.splits.items()} == {"train": [0], "val": [1], "test": [2]}
    assert images.images().shape == (3, 3, 218, 178)
    assert load("celeba", size=112).images([1]).shape == (1, 3, 112, 112)


def test_celeba_in_the_folders_of_its_own_site(root):
    moved = {"Img/img_align_celeba": "img_align_celeba", "Anno/identity": "identity", "Eval/list_eval": "list_eval"}
    files = {}
    for name, content in CELEBA.items():
        for new, old in moved.items():
            name = name.replace(f"celeba/{old}", f"CelebA/{new}")
        files[name] = content
    write(root, files)
    assert len(load("celeba")) == 3


def test_celeba_with_an_unlisted_image(root):
    write(root, CELEBA | {"celeba/img_align_celeba/000009.jpg": picture()})
    with pytest.raises(WorkbookError, match=r"^000009.jpg in celeba is in no label file"):
        load("celeba")


def test_raf_db(root):
    base = "raf_db/basic"
    files = {f"{base}/Image/aligned/{name}_aligned.jpg": picture(9, (100, 100), kind="JPEG")
             for name in ("train_00001", "train_00002", "test_0001")}  # fmt: skip
    files |= {f"{base}/Image/original/train_00001.jpg": picture()}
    labels = "train_00001.jpg 5\ntrain_00002.jpg 7\ntest_0001.jpg 1\n"
    write(root, files | {f"{base}/EmoLabel/list_patition_label.txt": labels})
    images = load("raf_db")
    found = {
        name.split("/")[-1]: images.classes[label] for name, label in zip(images.names, images.labels, strict=True)
    }
    assert images.classes == RAF_EXPRESSIONS
    assert found == {
        "train_00001_aligned.jpg": "sadness",
        "train_00002_aligned.jpg": "neutral",
        "test_0001_aligned.jpg": "surprise",
    }
    assert {part: len(index) for part, index in images.splits.items()} == {"train": 2, "test": 1}
    assert images.images().shape == (3, 3, 100, 100)


@pytest.mark.parametrize("negative", ["0", "-1"])
def test_cplfw(root, negative):
    names = [f"{who}_{k}.jpg" for who in ("Ada_Lovelace", "Bob") for k in (1, 2)]
    files = {f"cplfw/aligned images/{name}": picture(5, (112, 112), kind="JPEG") for name in names}
    files |= {f"cplfw/images/{name}": picture(5, (250, 250), kind="JPEG") for name in names}
    rows = [
        (names[0], names[1], "1"),
        (names[2], names[3], "1"),
        (names[0], names[2], negative),
        (names[1], names[3], negative),
    ]
    lines = "".join(f"{one} {label}\n{two} {label}\n" for one, two, label in rows)
    write(root, files | {"cplfw/pairs_CPLFW.txt": lines})
    images = load("cplfw")
    pairs = images.pairs["official"]
    assert (len(images), images.classes) == (4, ["Ada_Lovelace", "Bob"])
    assert pairs.same.tolist() == [True, True, False, False]
    assert torch.equal(images.labels[pairs.first] == images.labels[pairs.second], pairs.same)
    assert pairs.fold.tolist() == [0, 5, 0, 5]
    write(root, {"cplfw/pairs_CPLFW.txt": lines + "Eve_1.jpg 1\nEve_2.jpg 1\n"})
    with pytest.raises(WorkbookError, match="does not match its images"):
        load("cplfw")


@pytest.mark.parametrize(
    ("name", "files", "people", "source"),
    [
        ("facescrub", ["facescrub/Ada_L/Ada_1.jpg", "facescrub/Bob/Bob_1.jpg"], ["Ada_L", "Bob"], "facescrub"),
        ("facescrub", ["megaface/facescrub_images/Bob/1.png"], ["Bob"], "megaface/facescrub_images"),
        ("megaface", ["megaface/FlickrFinal2/100/100@N0/1.jpg"], ["100@N0"], "megaface/FlickrFinal2"),
        ("casia_webface", ["CASIA-WebFace/045/1.jpg", "CASIA-WebFace/099/1.jpg"], ["045", "099"], None),
        ("voxceleb", ["voxceleb/unzippedFaces/A.J._B/1.6/1zcI/01.jpg"], ["A.J._B"], None),
    ],
)
def test_a_folder_per_person(root, name, files, people, source):
    write(root, {file: picture(9, (40, 50)) for file in files})
    images = load(name)
    assert images.classes == people
    assert images.images().shape == (len(files), 3, 112, 112)
    assert source is None or images.source == f"data root: {source}"
    assert load(name, size=None).images([0]).shape == (1, 3, 50, 40)


def test_voxceleb_tracks(root):
    base = "voxceleb/id00012"
    write(root, {f"{base}/{track}/{k}.jpg": picture(k) for track in ("v/1", "v/2", "w/1") for k in (1, 2)})
    images = load("voxceleb")
    assert images.classes == ["id00012"]
    assert images.attributes["track"].tolist() == [0, 0, 1, 1, 2, 2]


def test_loose_files_are_not_people(root):
    write(root, {"casia_webface/1.jpg": picture()})
    with pytest.raises(WorkbookError, match="a folder per person"):
        load("casia_webface")


def test_talfw_takes_the_pairs_of_lfw(root):
    files = {f"talfw/{who}/{who}_000{k}.png": picture(3, (112, 112)) for who in ("Ada", "Bob") for k in (1, 2)}
    write(root, files | {"lfw_pairs.txt": "1 1\nAda 1 2\nAda 1 Bob 1\n"})
    images = load("talfw")
    assert (images.name, len(images.pairs["view2"])) == ("talfw", 2)
