import pytest
import torch

from lib.errors import WorkbookError
from lib.evaluation.corruption_error import (
    corruption_errors,
    mean_corruption_error,
    relative_corruption_errors,
    relative_mean_corruption_error,
)

ERRORS = torch.tensor([[0.2, 0.4], [0.3, 0.9]])
REFERENCE = torch.tensor([[0.4, 0.8], [0.5, 0.7]])


def test_by_hand():
    assert corruption_errors(ERRORS, REFERENCE).tolist() == pytest.approx([0.5, 1.0])
    assert mean_corruption_error(ERRORS, REFERENCE) == pytest.approx(0.75)
    relative = relative_corruption_errors(ERRORS, 0.1, REFERENCE, 0.3)
    assert relative.tolist() == pytest.approx([(0.6 - 0.2) / (1.2 - 0.6), (1.2 - 0.2) / (1.2 - 0.6)])
    assert relative_mean_corruption_error(ERRORS, 0.1, REFERENCE, 0.3) == pytest.approx(relative.mean().item())


def test_the_reference_itself_scores_one():
    assert mean_corruption_error(REFERENCE, REFERENCE) == 1
    assert relative_mean_corruption_error(REFERENCE, 0.3, REFERENCE, 0.3) == pytest.approx(1)


def test_units_do_not_matter():
    assert mean_corruption_error(100 * ERRORS, 100 * REFERENCE) == pytest.approx(0.75)


def test_bad_tables_are_told():
    with pytest.raises(WorkbookError, match="one shape"):
        corruption_errors(ERRORS, REFERENCE[:1])
    with pytest.raises(WorkbookError, match="not accuracies"):
        relative_corruption_errors(ERRORS, 0.1, REFERENCE, 0.7613)
    with pytest.raises(WorkbookError, match="finite"):
        corruption_errors(ERRORS * torch.nan, REFERENCE)
