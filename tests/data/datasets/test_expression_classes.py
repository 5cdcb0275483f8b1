import pytest
import torch

from lib.data.datasets.expression_classes import EXPRESSIONS, expressions_of, majority
from lib.errors import WorkbookError


def test_votes_become_classes_in_one_order():
    votes = torch.zeros(6, 10, dtype=torch.long)
    votes[0, 2] = 9  # surprise
    votes[1, 6] = votes[1, 3] = 5  # a tie
    votes[2, 7] = 8  # contempt, which none of the seven is
    votes[3, 0] = 6  # neutral
    votes[4] = -1  # no votes
    votes[5, 4] = 4  # anger
    assert majority(votes).tolist() == [0, -1, -1, 6, -1, 5]
    assert EXPRESSIONS[5] == "Anger"


def test_exact_labels_and_names_of_classes_become_the_same_classes():
    class Exact:
        attributes = {"expression": torch.tensor([3, 0, 6])}  # Kaggle's happy, angry, neutral

    class Named:
        name, classes, attributes, labels = "mine", ["neutral", "Happy", "smirk"], {}, torch.tensor([1, 0, 2])

    assert expressions_of(Exact()).tolist() == [3, 5, 6]
    assert expressions_of(Named()).tolist() == [3, 6, -1]


def test_a_set_without_expressions_is_told():
    class People:
        name, classes, attributes, labels = "people", ["Ann", "Bob"], {}, torch.tensor([0, 1])

    with pytest.raises(WorkbookError, match="knows no expression"):
        expressions_of(People())
