import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import ImageSet, make_pairs, without_people
from lib.data.pairs import _unrank, lfw_pairs, make_pairs_apart
from lib.errors import WorkbookError

LIST = "2\t1\nAda\t1\t2\nAda\t1\tBob\t1\nBob\t1\t2\nBob\t2\tAda\t2\n"
PLACE = {"Ada_0001": 0, "Ada_0002": 1, "Bob_0001": 2, "Bob_0002": 3}


def test_unrank_counts_all_pairs():
    pairs = _unrank(np.arange(45))
    assert sorted(map(tuple, pairs.tolist())) == sorted(itertools.combinations(range(10), 2))
    rank = np.array([10**11, 10**11 + 1])
    i, j = _unrank(rank).T
    assert ((i < j) & (j * (j - 1) // 2 + i == rank)).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=5, max_size=30), st.integers(0, 99), st.data())
def test_made_pairs_are_right_and_unique(labels, seed, data):
    every = list(itertools.combinations(range(len(labels)), 2))
    genuine = sum(labels[i] == labels[j] for i, j in every)
    n, m = data.draw(st.integers(1, max(genuine, 1))), data.draw(st.integers(0, len(every) - genuine))
    if not genuine:
        with pytest.raises(WorkbookError, match="genuine"):
            make_pairs(torch.tensor(labels), n, m, seed)
        return
    pairs = make_pairs(torch.tensor(labels), n, m, seed)
    drawn = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len({frozenset(pair) for pair in drawn}) == len(drawn) == n + m
    assert pairs.same.tolist() == [labels[i] == labels[j] for i, j in drawn] == [True] * n + [False] * m
    assert pairs.fold.max() < 10
    again = make_pairs(torch.tensor(labels), n, m, seed)
    assert torch.equal(again.first, pairs.first)


def test_made_pairs_are_uniform_over_pairs():
    labels = torch.tensor([0, 0, 0, 1, 1])
    seen = torch.zeros(5, 5)
    for seed in range(800):
        pairs = make_pairs(labels, 1, 1, seed)
        seen[pairs.first, pairs.second] += 1
    genuine = torch.stack([seen[0, 1], seen[0, 2], seen[1, 2], seen[3, 4]])
    impostor = seen[:3, 3:]
    assert (genuine - 200).abs().max() < 60
    assert (impostor - 800 / 6).abs().max() < 50


def test_folds_are_balanced():
    pairs = make_pairs(torch.arange(40).repeat(3), 50, 50, 0)
    for fold in range(10):
        assert pairs.same[pairs.fold == fold].sum() == 5 == (~pairs.same[pairs.fold == fold]).sum()


@pytest.mark.parametrize(("same", "different", "kind"), [(4, 0, "genuine"), (0, 9, "impostor")])
def test_more_pairs_than_there_are(same, different, kind):
    with pytest.raises(WorkbookError, match=f"{kind} pairs were asked for"):
        make_pairs(torch.tensor([0, 0, 1, 1]), same, different, 0)


def test_lfw_list():
    pairs = lfw_pairs(LIST, PLACE, "pairs.txt")
    assert pairs.first.tolist() == [0, 0, 2, 3]
    assert pairs.second.tolist() == [1, 2, 3, 1]
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a list"),
        ("rubbish here\n", "not a list"),
        (LIST.rsplit("Bob", 1)[0], "not a list|announces 4"),
        ("2 1\nAda 1 2\n", "announces 4 pairs but holds 1"),
        ("1 1\nAda 1 2\nAda 1 Eve 1\n", "names Eve_0001"),
        ("1 1\nAda 1 x\nAda 1 Bob 1\n", "not a list"),
    ],
)
def test_a_wrong_list_is_one_sentence(text, says):
    with pytest.raises(WorkbookError, match=says):
        lfw_pairs(text, PLACE, "pairs.txt")


def test_without_people_leaves_strangers():
    names = list("abcdefg")
    images = ImageSet("t", "test", torch.tensor([0, 0, 1, 1, 2, 3, 3]), list("wxyz"), names, lambda index: None, "f")
    one, two = make_pairs(images.labels[:2], 1, 0, 0), make_pairs(images.labels[:4], 1, 1, 0).take([1])
    assert without_people(images, one).tolist() == [2, 3, 4, 5, 6]
    assert without_people(images, one, two).tolist() == [4, 5, 6]


@pytest.mark.parametrize(("people", "each", "folds"), [(20, 3, 10), (7, 2, 3), (4, 5, 2)])
def test_pairs_apart_share_no_person_between_folds(people, each, folds):
    labels = torch.arange(people).repeat_interleave(each)[torch.randperm(people * each)]
    pairs = make_pairs_apart(labels, 4000, seed=0)
    assert pairs.fold.unique().tolist() == list(range(folds))
    assert torch.equal(labels[pairs.first] == labels[pairs.second], pairs.same)
    for fold in range(folds):
        inside = pairs.fold == fold
        assert pairs.same[inside].sum() == (~pairs.same[inside]).sum() > 0
        used = [labels[torch.cat([pairs.first[part], pairs.second[part]])] for part in (inside, ~inside)]
        assert not set(used[0].tolist()) & set(used[1].tolist())
    assert len(make_pairs_apart(labels, folds, seed=0)) == 2 * folds


def test_people_with_one_picture_are_spread_over_the_folds():
    labels = torch.tensor([0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7])
    pairs = make_pairs_apart(labels, 4000, seed=0)
    assert pairs.fold.unique().tolist() == [0, 1]
    assert len(pairs) == 8


def test_few_people_get_folds_by_position():
    labels = torch.arange(3).repeat_interleave(3)
    pairs = make_pairs_apart(labels, 4000, seed=0)
    assert (len(pairs), pairs.same.sum()) == (18, 9)
    assert len(pairs.fold.unique()) == 9
