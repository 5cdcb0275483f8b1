"""Missing negatives against a slow count, and the walk against a case by hand."""

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.studies.ancra.contrast import Predictions, expected_missing, false_positive_shares, gradient_path, missing

LABELS = torch.arange(60) % 3
PREDICTED = torch.where(torch.arange(60) % 10 == 0, (LABELS + 1) % 3, LABELS)
FOUND = Predictions(F.one_hot(PREDICTED, 3).float(), LABELS)


def slow(strategy):
    """Anchors of all 60 images without a negative, one by one."""
    wanted = {"soft": PREDICTED, "hard": LABELS}[strategy]
    lonely = [not any(LABELS[j] != LABELS[i] and PREDICTED[j] == wanted[i] for j in range(60)) for i in range(60)]
    return sum(lonely) / 60


@pytest.mark.parametrize("strategy", ["soft", "hard"])
def test_a_batch_of_everything_is_the_slow_count(strategy):
    assert missing(strategy, FOUND, 60, draws=2).tolist() == pytest.approx([slow(strategy)] * 2)


def test_a_faultless_model_has_no_label_based_negative():
    right = Predictions(F.one_hot(LABELS, 3).float(), LABELS)
    for classes in (2, 3):
        assert missing("hard", right, 20, classes, draws=3).eq(1).all()
        assert missing("targeted", right, 40, classes, draws=3).eq(0).all()
    assert false_positive_shares(right).tolist() == [0, 0, 0]
    assert expected_missing(right, 20) == 1


def test_what_is_expected_comes_out():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (20_000,), generator=draw)
    wrong = torch.rand(20_000, generator=draw) < 0.1
    guess = torch.where(wrong & (labels > 1), labels - 2, labels)  # classes 3 and 4 get no visitor
    found = Predictions(F.one_hot(guess, 5).float(), labels)
    share = missing("hard", found, 40, draws=400).mean().item()
    assert 0.4 < share < 0.8
    assert share == pytest.approx(expected_missing(found, 40), abs=0.02)
    assert false_positive_shares(found)[3:].tolist() == [0, 0]


def test_walk_descends_what_it_is_given():
    path = gradient_path(lambda a, b: (a.detach() * b).sum(), torch.tensor([[1.0, 0.0], [2.0, 2.0]]), 3, 0.5)
    assert path[:, 0].tolist() == [[1, 0]] * 4
    assert path[:, 1].tolist() == [[2, 2], [1.5, 2], [1, 2], [0.5, 2]]


def test_bad_input():
    with pytest.raises(WorkbookError, match="2 to 3 classes, not 4"):
        missing("hard", FOUND, 10, 4)
    with pytest.raises(WorkbookError, match="A batch is 2 to 60"):
        missing("hard", FOUND, 61)
