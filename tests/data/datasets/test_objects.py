import hashlib
import io
import pickle

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lib.data import load
from lib.errors import WorkbookError
from tests.conftest import needs_data
from tests.data.conftest import picture, write, write_zip


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def test_digits():
    images = load("digits")
    assert images.images().shape == (1797, 1, 8, 8)
    assert images.images([0]).max() <= 1
    large = load("digits", size=32, channels=3)
    assert large.images([0, 5]).shape == (2, 3, 32, 32)
    assert large.fingerprint != images.fingerprint
    assert {part: len(index) for part, index in images.splits.items()} == {"train": 1437, "test": 360}


def test_things_have_digits_as_their_stand_in(root):
    for name, side in (("cifar10", 32), ("cifar100", 32), ("tiny_imagenet", 64)):
        images = load(name, where="embedded")
        assert images.source == "embedded: scikit-learn digits"
        assert images.images([0]).shape == (1, 3, side, side)


@pytest.mark.parametrize("zipped", [True, False])
def test_cifar_images(root, zipped):
    files = {f"cifar10/{split}/{kind}/{at:05d}.png": picture(at + 100 * (split == "test"), (32, 32))
             for split in ("train", "test") for at, kind in enumerate(("cat", "airplane", "cat"))}  # fmt: skip
    write_zip(root / "cifar10.zip", files) if zipped else write(root, files)
    images = load("cifar10")
    assert images.classes == ["airplane", "cat"]
    assert images.labels.tolist() == [1, 0, 1, 1, 0, 1]
    assert (images.images()[:, 0, 0, 0] * 255).round().tolist() == [0, 1, 2, 100, 101, 102]
    assert images.splits["test"].tolist() == [3, 4, 5]


def binaries(root, monkeypatch, name="CIFAR10", folder="cifar-10-batches-py"):
    """A miniature of the official pickles, with torchvision's own checksums replaced by theirs."""
    rng = np.random.default_rng(0)
    label = "labels" if name == "CIFAR10" else "fine_labels"
    batch = [{"data": rng.integers(0, 256, (4, 3072), np.uint8), label: [0, 1, 1, 0]} for _ in range(2)]
    names = {"label_names" if name == "CIFAR10" else "fine_label_names": ["airplane", "bird"]}
    texts = {key: pickle.dumps(value) for key, value in (("one", batch[0]), ("two", batch[1]), ("meta", names))}
    write(root / folder, texts)
    md5 = {key: hashlib.md5(text).hexdigest() for key, text in texts.items()}
    kind = getattr(torchvision.datasets, name)
    monkeypatch.setattr(kind, "train_list", [["one", md5["one"]]])
    monkeypatch.setattr(kind, "test_list", [["two", md5["two"]]])
    monkeypatch.setattr(kind, "meta", {"filename": "meta", "key": next(iter(names)), "md5": md5["meta"]})
    return batch


@pytest.mark.parametrize(("name", "kind", "folder"), [("cifar10", "CIFAR10", "cifar-10-batches-py"),
                                                      ("cifar100", "CIFAR100", "cifar-100-python")])  # fmt: skip
def test_cifar_binaries(root, monkeypatch, name, kind, folder):
    batch = binaries(root, monkeypatch, kind, folder)
    images = load(name)
    assert images.source == f"data root: {folder}"
    expected = torch.from_numpy(np.concatenate([part["data"] for part in batch])).reshape(-1, 3, 32, 32)
    assert torch.equal((images.images() * 255).round().byte(), expected)
    assert images.labels.tolist() == [0, 1, 1, 0] * 2
    assert images.splits["test"].tolist() == [4, 5, 6, 7]
    write(root / folder, {"one": b"other"})
    with pytest.raises(WorkbookError, match="checksums differ"):
        load(name)


def test_cifar_without_data_or_network(root):
    with pytest.raises(WorkbookError, match="download by torchvision failed"):
        load("cifar10")


def test_tiny_imagenet_part(root):
    files = {f"tiny_imagenet_20/{split}/n0{k}/{split}_{k}.JPEG": picture(k, (64, 64), mode, "JPEG")
             for split in ("train", "val") for k, mode in ((1, "RGB"), (2, "L"))}  # fmt: skip
    write_zip(root / "tiny_imagenet_20.zip", files | {"tiny_imagenet_20/words.txt": "n01\tfish\nn02\tbird\n"})
    images = load("tiny_imagenet")
    assert (len(images), images.classes) == (4, ["n01", "n02"])
    assert images.images().shape == (4, 3, 64, 64)
    assert {part: images.labels[index].tolist() for part, index in images.splits.items()} == {
        "train": [0, 1], "val": [0, 1]}  # fmt: skip


def test_tiny_imagenet_official_folder(root):
    base = "tiny-imagenet-200"
    files = {
        f"{base}/train/n0{k}/images/n0{k}_{j}.JPEG": picture(k, (64, 64), kind="JPEG") for k in (1, 2) for j in (0, 1)
    }
    files |= {f"{base}/val/images/val_{k}.JPEG": picture(k, (64, 64), kind="JPEG") for k in (0, 1)}
    files |= {f"{base}/test/images/test_0.JPEG": picture(), f"{base}/wnids.txt": "n01\nn02\n"}
    write(
        root, files | {f"{base}/val/val_annotations.txt": "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"}
    )
    images = load("tiny_imagenet")
    assert len(images) == 6
    assert images.labels[images.splits["val"]].tolist() == [1, 0]
    assert images.labels[images.splits["train"]].tolist() == [0, 0, 1, 1]
    (root / base / "val/val_annotations.txt").write_text("val_0.JPEG\tn02\n")
    with pytest.raises(WorkbookError, match="does not list all"):
        load("tiny_imagenet")


def test_other_layouts_are_one_sentence(root):
    write(root, {"cifar10/loose.png": picture()})
    with pytest.raises(WorkbookError, match="expected to hold train and test"):
        load("cifar10")


@needs_data("tiny_imagenet_20.zip")
def test_real_tiny_imagenet():
    images = load("tiny_imagenet", where="root")
    assert images.labels[images.splits["train"]].bincount().tolist() == [500] * 20
    assert images.labels[images.splits["val"]].bincount().tolist() == [50] * 20
    assert images.images(range(300)).shape == (300, 3, 64, 64)
