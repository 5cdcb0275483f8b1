"""PIN's MegaFace protocol: its counts, its order, its draws."""

import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.pin.galleries import gallery, ordered_pairs, some_pairs

LABELS = torch.arange(6).repeat_interleave(4)


def test_the_source_has_7200_genuine_and_632000_impostor_pairs():
    pairs = ordered_pairs(torch.arange(80).repeat_interleave(10), torch.arange(800))
    assert int(pairs.same.sum()) == 80 * 10 * 9 == 7200
    assert int((~pairs.same).sum()) == 800 * 799 - 7200 == 632_000


def test_ordered_pairs_hold_both_orders_and_no_image_with_itself():
    pairs = ordered_pairs(LABELS, torch.tensor([0, 1, 4]))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == {(0, 1), (1, 0), (0, 4), (4, 0), (1, 4), (4, 1)}
    assert all(
        bool(same) == ({a, b} == {0, 1})
        for a, b, same in zip(pairs.first.tolist(), pairs.second.tolist(), pairs.same, strict=True)
    )


def test_gallery_takes_so_many_pictures_of_each_person_and_follows_the_seed():
    index = gallery(LABELS, torch.tensor([1, 3]), 3, seed=0)
    assert LABELS[index].tolist() == [1, 1, 1, 3, 3, 3]
    assert len(index.unique()) == 6
    assert torch.equal(index, gallery(LABELS, torch.tensor([1, 3]), 3, seed=0))
    assert any(not torch.equal(index, gallery(LABELS, torch.tensor([1, 3]), 3, seed=seed)) for seed in range(1, 6))
    with pytest.raises(WorkbookError, match="4 pictures"):
        gallery(LABELS, torch.tensor([1]), 5, seed=0)


def test_some_pairs_takes_both_kinds():
    few = some_pairs(ordered_pairs(LABELS, torch.arange(24)), 5, seed=0)
    assert few.same.sum() == 5
    assert (~few.same).sum() == 5
