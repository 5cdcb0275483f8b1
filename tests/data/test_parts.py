"""People split_by_class to parts: whole, apart, as many images as asked for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data.parts import deal_people, people_with
from lib.errors import WorkbookError


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=12, max_size=60), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_everyone_is_in_one_part(people, first, second, seed):
    """Parts hold at least what was asked, and without their last person less; the rest takes everybody left."""
    labels, sizes = torch.tensor(people), {"a": first, "b": second, "rest": -1}
    index = torch.arange(len(labels))[1::2]  # only some of the images may be used
    try:
        parts = deal_people(labels, index, sizes, seed)
    except WorkbookError:
        largest = int(labels[index].bincount().max())
        assert len(index) < first + second + 2 * largest  # rightly: too few
        return
    assert list(parts) == list(sizes)
    assert torch.cat(list(parts.values())).sort().values.tolist() == index.tolist()
    folks = [labels[part].unique() for part in parts.values()]
    assert len(torch.cat(folks).unique()) == sum(len(part) for part in folks)
    largest = int(labels[index].bincount().max())
    for part, size in (("a", first), ("b", second)):
        assert size <= len(parts[part]) < size + largest
    again = deal_people(labels, index, sizes, seed)
    assert all(torch.equal(parts[name], again[name]) for name in parts)


def test_the_seed_shuffles_people():
    labels = torch.arange(50).repeat_interleave(2)
    split_by_class = [deal_people(labels, torch.arange(100), {"a": 20}, seed)["a"] for seed in (0, 1)]
    assert len(split_by_class[0]) == len(split_by_class[1]) == 20
    assert not torch.equal(*split_by_class)


def test_without_a_rest_the_others_are_left_out():
    parts = deal_people(torch.arange(10), torch.arange(10), {"a": 3, "b": 4})
    assert [len(part) for part in parts.values()] == [3, 4]
    everyone = deal_people(torch.arange(10), torch.arange(10), {"a": 3, "b": 7})
    assert [len(part) for part in everyone.values()] == [3, 7]


@pytest.mark.parametrize("sizes", [{"a": 11}, {"a": 6, "b": 5}, {"a": 10, "rest": -1}, {"rest": -1, "a": 1}])
def test_too_few_images(sizes):
    with pytest.raises(WorkbookError, match="10 images do not fill the parts"):
        deal_people(torch.arange(10), torch.arange(10), sizes)


def test_people_with_enough_images_fewest_first():
    labels = torch.tensor([5, 5, 5, 5, 3, 3, 3, 8, 8, 8, 8, 8, 1, 1, 7, 7, 7])
    index = torch.arange(len(labels))
    assert people_with(labels, index, 3, 9).tolist() == [3, 7, 5, 8]
    assert people_with(labels, index, 3, 2).tolist() == [3, 7]
    assert people_with(labels, index, 6, 2).tolist() == []
    assert people_with(labels, index[3:], 3, 9).tolist() == [3, 7, 8]  # only the images given count: 5 has one left
