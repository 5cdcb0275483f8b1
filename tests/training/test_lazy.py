"""Images read when they are trained on: the same bytes, the same training, the same key whoever reads them."""

from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import nn

from lib.cache import digest
from lib.data.readers.decode import read_array
from lib.data.sets import ImageSet
from lib.training import lazy, loop
from lib.training.batches import pixels_of, resize_uint8
from lib.training.lazy import decoded, mapped
from lib.training.loop import Recipe, fit
from lib.training.purifiers import Denoising

INDEX = torch.tensor([3, 0, 7, 11, 12, 4, 9, 1, 2])


def pictures(side=10, n=14, seed=0, fingerprint="a"):
    array = torch.randint(256, (n, 1, side, side), generator=torch.Generator().manual_seed(seed)).byte()
    reads = []

    def read(index):
        reads.append(list(index))
        return read_array(index, array)

    labels, names = torch.zeros(n, dtype=torch.long), [str(at) for at in range(n)]
    return ImageSet("made", "test", labels, ["one"], names, read, fingerprint), reads


MAKERS = {"decoded": lambda folder: decoded, "mapped": lambda folder: partial(mapped, folder=folder)}


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    return MAKERS[request.param](tmp_path / "images")


@pytest.mark.parametrize("side", [10, 6])
def test_the_bytes_are_those_in_memory(make, side, monkeypatch):
    monkeypatch.setattr(lazy, "CHUNK", 4)
    images, _ = pictures()
    memory, found = resize_uint8(images, INDEX, side), make(images, INDEX, side)
    assert len(found) == 9
    assert found.shape == memory.shape
    assert found.dtype == memory.dtype
    for index in (torch.tensor([4, 4, 0]), torch.arange(9), slice(2, 5)):
        assert torch.equal(found[index], memory[index])
    model = nn.Conv2d(1, 1, 1)
    assert torch.equal(pixels_of(found, INDEX[:3] % 9, model), pixels_of(memory, INDEX[:3] % 9, model))


def test_a_training_is_the_one_in_memory_resumed_too(make, tmp_path, monkeypatch):
    images, _ = pictures()
    recipe = Recipe(6, 4, 0.05)

    def run(source, folder):
        torch.manual_seed(0)
        model = nn.Conv2d(1, 1, 3, padding=1)
        return model, fit(model, Denoising(source, sigma=0.1), 9, recipe, folder=folder)["loss"]

    wanted, curve = run(resize_uint8(images, INDEX, 10), tmp_path / "memory")
    first, found = run(make(images, INDEX, 10), tmp_path / "whole")
    assert torch.equal(found, curve)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "SAVE_SECONDS", -1.0)
        broken = make(images, INDEX, 10)
        calls = []

        def dying(index):
            calls.append(index)
            if len(calls) > 3:
                raise InterruptedError
            return make(images, INDEX, 10).read(index)

        with pytest.raises(InterruptedError):
            run(replace(broken, read=dying), tmp_path)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    again, found = run(make(images, INDEX, 10), tmp_path)
    assert not list(tmp_path.glob("*.pt"))  # the same checkpoint went on and is gone
    assert torch.equal(found, curve)
    for model in (first, again):
        assert torch.equal(model.weight, wanted.weight)


def test_only_what_a_batch_asks_for_is_read_and_keying_reads_nothing(tmp_path):
    images, reads = pictures()
    found = decoded(images, INDEX, 10)
    digest(found)
    assert reads == []
    found[torch.tensor([2, 1])]
    assert reads == [[7, 0]]
    reads.clear()
    kept = mapped(images, INDEX, 10, tmp_path)
    assert sorted(sum(reads[1:], [])) == sorted(INDEX.tolist())  # after one image for the shape, each once
    reads.clear()
    digest(kept)
    again = mapped(images, INDEX, 10, tmp_path)
    assert torch.equal(again[INDEX[:2]], kept[INDEX[:2]])
    assert reads == []


def test_the_key_is_the_set_s_the_selection_s_and_the_size_s():
    images, _ = pictures()
    keys = [
        digest(decoded(images, INDEX, 10)),
        digest(decoded(pictures(fingerprint="b")[0], INDEX, 10)),
        digest(decoded(images, INDEX.flip(0), 10)),
        digest(decoded(images, INDEX, 8)),
    ]
    assert len(set(keys)) == 4
    assert digest(decoded(pictures()[0], INDEX, 10)) == keys[0]


def test_a_write_that_dies_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr(lazy, "CHUNK", 4)
    images, reads = pictures()

    @dataclass
    class Dying:
        left: int = 2

        def __call__(self, index):
            self.left -= 1
            if self.left < 0:
                raise InterruptedError
            return images.read(index)

    with pytest.raises(InterruptedError):
        mapped(replace(images, read=Dying()), INDEX, 10, tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    assert torch.equal(mapped(images, INDEX, 10, tmp_path)[:], resize_uint8(images, INDEX, 10))
