"""Accuracy, worst case and confusion by hand and against scikit-learn."""

import pytest
import torch
from sklearn.metrics import confusion_matrix

from lib.errors import WorkbookError
from lib.evaluation.classification import accuracy, confusion, correct, robust_accuracy, worst_case

LABELS = torch.tensor([0, 1, 2, 2])


def test_accuracy_takes_classes_and_logits():
    logits = torch.tensor([[2.0, 0, 0], [0, 3, 0], [1, 0, 0], [0, 0, 1]])
    assert accuracy(logits, LABELS) == 0.75
    assert accuracy(logits.argmax(1), LABELS) == 0.75
    assert correct(logits, LABELS).tolist() == [True, True, False, True]


def test_worst_case_is_per_example_and_below_every_attack():
    right = torch.tensor([[True, True, False, True], [True, False, True, True], [True, True, True, True]])
    assert worst_case(right).tolist() == [True, False, False, True]
    assert robust_accuracy(right) == 0.5
    assert robust_accuracy(right) <= right.double().mean(1).min()


def test_confusion_is_scikit_learns():
    draw = torch.Generator().manual_seed(0)
    labels, guesses = torch.randint(7, (2, 100), generator=draw)
    assert confusion(guesses, labels, 8).tolist() == confusion_matrix(labels, guesses, labels=range(8)).tolist()


def test_bad_input_is_told_in_a_sentence():
    with pytest.raises(WorkbookError, match="one prediction per label"):
        accuracy(LABELS[:3], LABELS)
    with pytest.raises(WorkbookError, match="NaN"):
        accuracy(torch.full((4, 3), torch.nan), LABELS)
    with pytest.raises(WorkbookError, match="booleans"):
        worst_case(torch.ones(2, 4))
    with pytest.raises(WorkbookError, match="booleans"):
        robust_accuracy(torch.ones(4, dtype=torch.bool))
    with pytest.raises(WorkbookError, match="0 to 1"):
        confusion(LABELS, LABELS, 2)
