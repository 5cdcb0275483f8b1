import pytest
import torch

from lib.errors import WorkbookError
from lib.evaluation.collapse import collapse_of, uncentred_rank


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_an_even_sphere_is_healthy():
    found = collapse_of(rows(4000, 16))
    assert found.spread == pytest.approx(1, abs=0.01)
    assert found.rank == pytest.approx(16, rel=0.01)
    assert torch.allclose(found.spectrum, torch.full((16,), 1 / 16).double(), atol=0.01)


def test_one_point_is_full_collapse():
    found = collapse_of(torch.ones(50, 16))
    assert found.spread == pytest.approx(0, abs=1e-6)
    assert found.rank == pytest.approx(1, abs=0.01)


def test_the_uncentred_rank_sees_one_answer_through_its_noise():
    even = torch.nn.functional.normalize(rows(2000, 16), dim=1)
    noisy = torch.nn.functional.normalize(torch.ones(2000, 16) + 1e-4 * even, dim=1)
    assert uncentred_rank(even) == pytest.approx(16, rel=0.01)
    assert uncentred_rank(noisy) == pytest.approx(1, abs=0.01)
    assert collapse_of(noisy).rank > 14  # the centred one does not
    values = torch.linalg.svdvals(rows(40, 16).double())
    share = values / values.sum()
    assert uncentred_rank(rows(40, 16)) == pytest.approx(torch.special.entr(share).sum().exp().item())


def test_a_line_is_collapse_of_dimensions():
    """Points on a circle in sixteen dimensions: spread, but in two directions only."""
    turn = torch.rand(500, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    features = torch.zeros(500, 16)
    features[:, 0], features[:, 1] = turn.cos(), turn.sin()
    found = collapse_of(features)
    assert found.rank == pytest.approx(2, abs=0.05)
    assert found.spectrum[:2].sum() == pytest.approx(1)
    assert found.spread == pytest.approx(4 * 2 * 0.5**0.5 / 16, abs=0.02)  # two of sixteen with deviation 0.71


def test_scale_does_not_matter():
    features = rows(200, 8)
    assert collapse_of(1000 * features).spread == pytest.approx(collapse_of(features).spread)


def test_bad_features_are_told():
    for features in (rows(1, 8), rows(5, 8) * torch.inf):
        with pytest.raises(WorkbookError, match="two or more"):
            collapse_of(features)
