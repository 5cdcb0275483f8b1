import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from lib.evaluation import auc
from lib.evaluation.effects import cohens_d, correlation, histogram_overlap, rank_correlation, ranks, superiority


def test_overlap_by_hand():
    first, second = torch.tensor([0.0, 0.1, 0.9, 1.0]), torch.tensor([0.9, 0.95, 1.0, 1.0])
    assert histogram_overlap(first, second, bins=2) == pytest.approx(0.5)
    assert histogram_overlap(first, first) == pytest.approx(1)
    assert histogram_overlap(first, first + 5) == 0
    assert histogram_overlap(torch.ones(3), torch.ones(2)) == pytest.approx(1)


def test_cohens_d_of_shifted_samples():
    values = torch.randn(3, 200, generator=torch.Generator().manual_seed(0)).double()
    assert cohens_d(values + 2 * values.std(), values) == pytest.approx(2)
    assert cohens_d(values, values) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_superiority_counts_pairs(first, second):
    slow = sum((a > b) + (a == b) / 2 for a in first for b in second) / len(first) / len(second)
    both = torch.tensor(first + second).double()
    found = superiority(torch.tensor(first).double(), torch.tensor(second).double())
    assert found == pytest.approx(slow)
    assert found == pytest.approx(float(auc(both, torch.arange(len(both)) < len(first))))


def test_correlation_by_hand():
    first = torch.tensor([1.0, 2.0, 3.0])
    assert correlation(first, 5 - 2 * first).item() == pytest.approx(-1)
    assert correlation(first, torch.tensor([1.0, 3.0, 2.0])).item() == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=15))
@settings(max_examples=50, deadline=None)
def test_rank_correlation_is_scipys(pairs):
    first, second = torch.tensor(pairs).double().T
    found = rank_correlation(torch.stack([first, second]), second)
    if first.unique().numel() == 1 or second.unique().numel() == 1:
        assert found[0].isnan()
    else:
        assert found[0].item() == pytest.approx(spearmanr(first, second).statistic, abs=1e-9)
        assert found[1].item() == pytest.approx(1)


def test_ranks_share_ties_and_missing_numbers_have_none():
    assert ranks(torch.tensor([5.0, 1, 5, 9])).tolist() == [1.5, 0, 1.5, 3]
    assert rank_correlation(torch.tensor([1.0, torch.nan, 2]), torch.tensor([1.0, 2, 3])).isnan()
