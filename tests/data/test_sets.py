import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.data import ImageSet, Pairs
from lib.errors import WorkbookError


def tiny(n=7, **rest):
    data = torch.arange(n * 3 * 2 * 2, dtype=torch.uint8).reshape(n, 3, 2, 2)
    names = [f"{at}.png" for at in range(n)]
    return ImageSet("tiny", "test", torch.arange(n), names, names, lambda index: data[list(index)], "f", **rest), data


def pairs(n):
    at = torch.arange(n)
    return Pairs(at, at + 1, at % 3 == 0, at // 5)


def test_images_are_the_bytes_over_255():
    images, data = tiny()
    assert torch.equal(images.images(), data.float() / 255)
    assert torch.equal(images.images([4, 1]), data[[4, 1]].float() / 255)
    assert torch.equal(images.images(torch.arange(7) > 4), data[5:].float() / 255)


def test_images_come_in_chunks_in_order(monkeypatch):
    monkeypatch.setattr("lib.data.sets.CHUNK", 3)
    images, data = tiny(10)
    assert torch.equal(images.images(), data.float() / 255)


def test_no_bar_where_little_work_is_expected(capsys):
    tiny()[0].images(progress=True)
    assert capsys.readouterr().err == ""


def test_a_bar_only_where_asked_for(monkeypatch):
    labels = []
    monkeypatch.setattr("lib.data.sets.CHUNK", 1)
    monkeypatch.setattr("lib.data.sets.shown", lambda items, label: labels.append(label) or items)
    images = tiny()[0]
    assert torch.equal(images.images(progress=True), images.images())
    assert labels == ["reading tiny"]


@pytest.mark.parametrize("index", [[7], [-1], [], [0.5], torch.zeros(2, 2).long(), torch.ones(3).bool()])
def test_wrong_positions_are_one_sentence(index):
    with pytest.raises(WorkbookError, match="'tiny'"):
        tiny()[0].images(index)


def test_an_empty_or_uneven_set_is_refused():
    with pytest.raises(WorkbookError, match="no image"):
        tiny(0)
    with pytest.raises(WorkbookError, match="pose"):
        tiny(7, attributes={"pose": torch.zeros(6)})


def test_repr_has_no_tensors():
    assert repr(tiny()[0]) == "tiny: 7 images, 7 classes (test)"


def test_take_keeps_fields_together():
    some = pairs(9).take([3, 1])
    assert [some.first.tolist(), some.second.tolist(), some.same.tolist()] == [[3, 1], [4, 2], [True, False]]
    assert len(pairs(9).take(pairs(9).same)) == 3


@given(st.integers(6, 200), st.data())
def test_thin_is_balanced_even_and_ordered(n, data):
    full = pairs(n)
    half = data.draw(st.integers(1, int(full.same.sum())))
    thin = full.thin(2 * half)
    assert thin.same.sum() == half == (~thin.same).sum()
    assert (thin.first.diff() > 0).all()
    assert torch.equal(thin.fold, full.fold[thin.first])
    steps = thin.first[thin.same].div(3, rounding_mode="floor").diff()
    assert not len(steps) or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("n", [0, 3, 100])
def test_thin_refuses_what_it_cannot_do(n):
    with pytest.raises(WorkbookError, match="even number"):
        pairs(9).thin(n)
