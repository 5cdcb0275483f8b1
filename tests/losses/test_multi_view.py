"""NT-Xent of several views: for two it is SimCLR's, and one side may stand still."""

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows
from lib.losses.multi_view import multi_view_rows


def unit(rows, seed=0):
    return F.normalize(torch.randn(rows, 5, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_two_views_are_nt_xent():
    rows = unit(8)
    assert torch.allclose(multi_view_rows(rows, 2, 0.5), nt_xent_rows(rows, 0.5), atol=1e-6)


def test_three_views_take_the_mean_of_both_positives():
    rows = unit(6)
    chance = (rows @ rows.T / 0.2).fill_diagonal_(-torch.inf).log_softmax(1)
    assert torch.allclose(multi_view_rows(rows, 3, 0.2)[0], -(chance[0, 2] + chance[0, 4]) / 2, atol=1e-6)


def test_one_side_has_the_same_value_and_half_the_gradient():
    grown = []
    for one_sided in (False, True):
        rows = unit(6).requires_grad_()
        loss = multi_view_rows(rows, 3, 0.5, one_sided).sum()
        (gradient,) = torch.autograd.grad(loss, rows)
        grown.append((loss.item(), gradient))
    assert grown[0][0] == pytest.approx(grown[1][0])
    assert not torch.allclose(grown[0][1], grown[1][1])


@pytest.mark.parametrize("views", [1, 4])
def test_half_views_are_told(views):
    with pytest.raises(WorkbookError, match="whole views"):
        multi_view_rows(unit(6), views, 0.5)
