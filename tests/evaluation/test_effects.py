import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.evaluation import auc
from lib.evaluation.effects import cohens_d, correlation, histogram_overlap, superiority


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
