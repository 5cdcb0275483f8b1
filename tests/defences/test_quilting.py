import itertools

import pytest
import torch

from lib.defences.quilting import Quilting, cheapest_seam, patch_bank, quilt
from lib.errors import WorkbookError


def faces(count=3, height=14, width=17, seed=0):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed))


def every_seam(cost):
    """The cheapest path's cost, by trying all of them."""
    rows, columns = cost.shape
    steps = itertools.product(range(columns), repeat=rows)
    paths = [path for path in steps if all(abs(a - b) < 2 for a, b in itertools.pairwise(path))]
    return min(sum(cost[row, column].item() for row, column in enumerate(path)) for path in paths)


@pytest.mark.parametrize("columns", [1, 2, 4])
def test_seam_is_the_cheapest_of_all(columns):
    cost = torch.rand(20, 5, columns, generator=torch.Generator().manual_seed(columns))
    path = cheapest_seam(cost)
    assert (path.diff(dim=1).abs() <= 1).all()
    found = cost.gather(2, path[:, :, None]).sum((1, 2))
    assert torch.allclose(found, torch.tensor([every_seam(each) for each in cost]))


def test_seam_by_hand():
    cost = torch.tensor([[[5.0, 1, 5], [5, 5, 1], [9, 9, 1], [1, 5, 5]]])  # the cheap corner is out of reach
    assert cheapest_seam(cost).tolist() == [[1, 2, 2, 1]]


def test_quilt_of_the_images_own_patches_is_the_image():
    x = faces()
    own = x[:, 0].unfold(1, 5, 1).unfold(2, 5, 1).reshape(-1, 25)
    assert torch.equal(Quilting(own, neighbours=1)(x), x)


def test_quilt_by_hand():
    old, new = torch.zeros(3, 3), torch.ones(3, 3)
    new[:, 0] = torch.tensor([0.0, 0.9, 0.9])  # the seam runs through column 0, then 1 (diagonal), where both agree
    new[1:, 1] = 0.1
    laid = quilt(torch.stack([old, new])[None, None], [0], [0, 1])
    expected = torch.tensor([[0.0, 0, 1, 1], [0, 0, 0.1, 1], [0, 0, 0.1, 1]])
    assert torch.allclose(laid[0], expected)


def test_nearest_patches_against_all_distances():
    bank, patches = faces(200, 5, 5).flatten(1), faces(60, 5, 5, seed=1).flatten(1)
    found = Quilting(bank, neighbours=7).nearest(patches)
    assert torch.equal(found, torch.cdist(patches.double(), bank.double()).topk(7, largest=False).indices)


def test_every_pixel_comes_from_the_bank_and_no_batch_matters():
    bank = torch.linspace(0, 1, 50)[:, None].expand(50, 25).contiguous()  # flat patches
    defence, x = Quilting(bank), faces()
    y = defence(x)
    assert y.shape == x.shape
    assert torch.isin(y, bank).all()
    assert torch.equal(defence(x[1:]), y[1:])
    assert not torch.equal(Quilting(bank, seed=1)(x), y)


def test_patches_end_with_the_image():
    assert Quilting(faces(20, 5, 5).flatten(1)).starts(112)[-2:] == [105, 107]
    assert Quilting(faces(20, 5, 5).flatten(1)).starts(11) == [0, 3, 6]


def test_bank_is_cut_from_the_images():
    x = faces(2, 8, 9)
    bank = patch_bank(x, 40, seed=2)
    whole = {tuple(row.tolist()) for row in x[:, 0].unfold(1, 5, 1).unfold(2, 5, 1).reshape(-1, 25)}
    assert bank.shape == (40, 25)
    assert all(tuple(row.tolist()) in whole for row in bank)
    assert torch.equal(bank, patch_bank(x, 40, seed=2))
    assert patch_bank((x * 255).byte(), 3).max() <= 1


def test_bad_requests():
    with pytest.raises(WorkbookError, match="bank of at least 10 patches of 25 pixels"):
        Quilting(torch.rand(9, 25))
    with pytest.raises(WorkbookError, match="overlap lies in 1 ... 4"):
        Quilting(torch.rand(20, 25), overlap=5)
    with pytest.raises(WorkbookError, match="takes gray images"):
        Quilting(torch.rand(20, 25))(torch.rand(1, 3, 9, 9))
    with pytest.raises(WorkbookError, match="do not fit images of 4x9"):
        patch_bank(torch.rand(1, 1, 4, 9), 3)


def in_raster_order(patches, tops, lefts):
    """The quilt of `patches`, one patch after the other."""
    side = patches.shape[-1]
    canvas = torch.zeros(len(patches), tops[-1] + side, lefts[-1] + side)
    for (i, top), (j, left) in itertools.product(enumerate(tops), enumerate(lefts)):
        place = canvas[:, top : top + side, left : left + side]
        keep = torch.zeros(place.shape, dtype=torch.bool)
        for start, before, turned in ((left, lefts[:j], False), (top, tops[:i], True)):
            if before:
                old, new = (part.mT if turned else part for part in (place, patches[:, i, j]))
                shared = before[-1] + side - start
                seam = cheapest_seam((old - new)[:, :, :shared].square())
                mine = torch.arange(side) < seam[:, :, None]
                keep |= mine.mT if turned else mine
        place.copy_(torch.where(keep, place, patches[:, i, j]))
    return canvas


@pytest.mark.parametrize(("side", "overlap", "length"), [(5, 2, 32), (5, 4, 13), (4, 1, 17), (5, 3, 12), (5, 2, 6)])
def test_laying_many_at_once_is_laying_one_after_the_other(side, overlap, length):
    starts = Quilting(torch.rand(20, side**2), side, overlap).starts(length)
    patches = torch.rand(3, len(starts), len(starts), side, side, generator=torch.Generator().manual_seed(0))
    assert torch.equal(quilt(patches, starts, starts), in_raster_order(patches, starts, starts))
