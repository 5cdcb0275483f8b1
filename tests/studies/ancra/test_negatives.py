import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import WorkbookError
from lib.studies.ancra.negatives import STRATEGIES, candidates, choose

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
PREDICTED = torch.tensor([0, 1, 1, 0, 2, 1])
every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
batches = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=20)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def fits(strategy, labels, predicted, i, j):
    """Table I for anchor i and row j."""
    if labels[i] == labels[j]:
        return False
    if strategy == "soft":
        return bool(predicted[j] == predicted[i])
    return strategy != "hard" or bool(predicted[j] == labels[i])


def slowly(strategy, labels, predicted):
    return torch.tensor(
        [[fits(strategy, labels, predicted, i, j) for j in range(len(labels))] for i in range(len(labels))]
    )


def test_the_two_strategies_of_the_paper_by_hand():
    soft = [[3], [2, 5], [1, 5], [0], [], [1, 2]]  # of another class, classified as the anchor is
    hard = [[3], [3], [1, 5], [1, 5], [], []]  # of another class, classified as what the anchor is
    for strategy, expected in (("soft", soft), ("hard", hard)):
        found = candidates(strategy, LABELS, PREDICTED)
        assert [row.nonzero().flatten().tolist() for row in found] == expected


@every_strategy
@settings(max_examples=40, deadline=None)
@given(batch=batches, seed=st.integers(0, 1000))
def test_negatives_are_candidates_of_another_class(strategy, batch, seed):
    labels, predicted = torch.tensor(batch).T
    if len(labels.unique()) < 2:
        with pytest.raises(WorkbookError, match="at least two classes"):
            choose(strategy, labels, generator(seed), predicted)
        return
    expected = slowly(strategy, labels, predicted)
    assert torch.equal(candidates(strategy, labels, predicted), expected)
    rows, found = choose(strategy, labels, generator(seed), predicted), expected.any(1)
    assert rows.dtype == torch.long
    assert (labels[rows] != labels).all()
    for i, row in enumerate(rows.tolist()):
        assert expected[i, row] or not found[i]
    assert torch.equal(rows, choose(strategy, labels, generator(seed), predicted))


@settings(max_examples=40, deadline=None)
@given(batch=batches)
def test_laws_of_the_strategies(batch):
    labels, predicted = torch.tensor(batch).T
    soft, hard = (candidates(strategy, labels, predicted) for strategy in ("soft", "hard"))
    right = predicted == labels
    assert torch.equal(soft, soft.T)
    assert torch.equal(soft[right], hard[right])  # where the anchor is right the two ask for the same
    assert not hard[:, right].any()  # a rightly classified row of another class is not the anchor's class
    assert not (soft & right[:, None] & right).any()


@every_strategy
def test_every_candidate_is_drawn_as_often(strategy):
    expected = candidates(strategy, LABELS, PREDICTED)
    expected = torch.where(expected.any(1)[:, None], expected, LABELS[:, None] != LABELS).float()
    draw, counts = generator(), torch.zeros(6, 6)
    for _ in range(3000):
        counts[torch.arange(6), choose(strategy, LABELS, draw, PREDICTED)] += 1
    assert (counts / 3000 - expected / expected.sum(1, keepdim=True)).abs().max() < 0.04


def test_failures_are_counted():
    """Without a misclassified row the two searches always fail; random and targeted never do."""
    counts = {strategy: int((~candidates(strategy, LABELS, PREDICTED).any(1)).sum()) for strategy in STRATEGIES}
    assert counts == {"random": 0, "soft": 1, "hard": 2, "targeted": 0}
    for strategy in ("soft", "hard"):
        assert not candidates(strategy, LABELS, LABELS).any()
    for strategy in ("random", "targeted"):
        assert candidates(strategy, LABELS).any(1).all()


def test_bad_input():
    with pytest.raises(WorkbookError, match="random, soft, hard, targeted, not 'easy'"):
        choose("easy", LABELS, generator())
    for strategy in ("soft", "hard"):
        with pytest.raises(WorkbookError, match=f"'{strategy}' needs the predicted classes"):
            choose(strategy, LABELS, generator())
