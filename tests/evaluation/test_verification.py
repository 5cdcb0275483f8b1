"""Verification measures against loops over every threshold, scikit-learn and cases done by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from lib.errors import WorkbookError
from lib.evaluation.verification import (
    auc,
    best_threshold,
    eer,
    error_at_threshold,
    roc,
    tar_at_far,
    ten_fold_accuracy,
    worst_scores,
)


def slow_eer(scores, same, weights):
    """Walk down the thresholds, one distinct score after the other, until FAR passes FRR."""
    rows = list(zip(scores.tolist(), same.tolist(), weights.tolist(), strict=True))
    genuine = sum(w for _, kind, w in rows if kind)
    impostor = sum(w for _, kind, w in rows if not kind)
    before = (0.0, 1.0)
    for threshold in sorted({score for score, _, _ in rows}, reverse=True):
        far = sum(w for score, kind, w in rows if not kind and score >= threshold) / impostor
        frr = sum(w for score, kind, w in rows if kind and score < threshold) / genuine
        if far >= frr:
            part = (before[1] - before[0]) / ((before[1] - before[0]) + (far - frr))
            return before[0] + part * (far - before[0])
        before = (far, frr)
    raise AssertionError("FAR ends at 1 and FRR at 0")


def pairs(seed, n=60, ties=False, shift=1.0):
    draw = torch.Generator().manual_seed(seed)
    same = torch.arange(n) % 3 == 0
    scores = torch.randn(n, generator=draw) + shift * same
    return (scores.mul(2).round() / 2 if ties else scores), same


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shift", [-3.0, -0.5, 0.0, 1.0, 4.0])
def test_eer_is_the_loop_over_thresholds(ties, shift):
    for seed in range(5):
        scores, same = pairs(seed, ties=ties, shift=shift)
        assert eer(scores, same) == pytest.approx(slow_eer(scores, same, torch.ones(60)), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4)), min_size=4, max_size=20))
def test_weighted_eer_with_ties_is_the_loop(rows):
    scores = torch.tensor([float(score) for score, _ in rows])
    weights = torch.tensor([float(weight) for _, weight in rows])
    same = torch.arange(len(rows)) % 2 == 0
    weights[:2] = 1.0  # at least one pair of each kind
    assert eer(scores, same, weights) == pytest.approx(slow_eer(scores, same, weights), abs=1e-12)


def test_weights_are_repetitions():
    scores, same = pairs(0, ties=True)
    weights = torch.randint(1, 4, (60,), generator=torch.Generator().manual_seed(1))
    again = scores.repeat_interleave(weights), same.repeat_interleave(weights)
    for measure in (eer, auc):
        assert measure(scores, same, weights) == pytest.approx(measure(*again), abs=1e-12)
    assert tar_at_far(scores, same, 0.1, weights) == pytest.approx(tar_at_far(*again, 0.1), abs=1e-12)
    assert error_at_threshold(scores, same, 0.5, weights) == pytest.approx(error_at_threshold(*again, 0.5), abs=1e-12)


def test_batched_weights_give_one_result_each():
    scores, same = pairs(2)
    weights = torch.randint(0, 3, (7, 60), generator=torch.Generator().manual_seed(3)).double()
    for measure in (eer, auc, lambda s, k, w: tar_at_far(s, k, 0.2, w), lambda s, k, w: error_at_threshold(s, k, 0, w)):
        batch = measure(scores, same, weights)
        assert batch.shape == (7,)
        assert batch.tolist() == pytest.approx([measure(scores, same, row) for row in weights], abs=1e-12)


def test_a_draw_without_genuine_pairs_has_no_eer():
    scores, same = pairs(0)
    weights = torch.stack([torch.ones(60), (~same).float()])
    for measure in (eer, auc, lambda s, k, w: tar_at_far(s, k, 0.1, w)):
        assert measure(scores, same, weights).isnan().tolist() == [False, True]


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        ([0.9, 0.8], [0.1, 0.2], 0.0),  # separated
        ([0.1, 0.2], [0.8, 0.9], 1.0),  # turned round
        ([0.5, 0.5], [0.5, 0.5], 0.5),  # all tied
        ([0.9, 0.4], [0.6, 0.1], 0.5),  # one of two wrong on either side
        ([0.9, 0.8, 0.7, 0.2], [0.3, 0.1, 0.1, 0.1], 0.25),
        ([0.9], [0.8, 0.1], 0.0),
        ([0.6], [0.9, 0.1], 0.5),
    ],
)
def test_eer_by_hand(genuine, impostor, expected):
    scores = torch.tensor(genuine + impostor)
    same = torch.tensor([True] * len(genuine) + [False] * len(impostor))
    assert eer(scores, same) == pytest.approx(expected)


def test_eer_is_blind_to_a_rising_map_and_turns_with_the_sign():
    scores, same = pairs(4)
    assert eer(scores.double().exp(), same) == pytest.approx(eer(scores, same), abs=1e-12)
    assert eer(-scores, same) == pytest.approx(1 - eer(scores, same), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_and_auc_are_scikit_learns(ties):
    scores, same = pairs(5, 200, ties)
    far, tar, threshold = roc_curve(same, scores, drop_intermediate=False)
    ours = roc(scores, same)
    assert ours.far.tolist() == pytest.approx(far.tolist())
    assert ours.tar.tolist() == pytest.approx(tar.tolist())
    assert ours.threshold.tolist() == pytest.approx(threshold.tolist())
    assert auc(scores, same) == pytest.approx(roc_auc_score(same, scores), abs=1e-12)


@pytest.mark.parametrize("far", [0.0, 0.01, 0.1, 1.0])
def test_tar_at_far_is_the_best_allowed_threshold(far):
    scores, same = pairs(6, 300, ties=True)
    slow = 0.0
    for threshold in [*scores.unique().tolist(), 99.0]:
        if (scores[~same] >= threshold).double().mean() <= far:
            slow = max(slow, (scores[same] >= threshold).double().mean().item())
    assert tar_at_far(scores, same, far) == pytest.approx(slow)


def test_error_at_threshold_counts_both_kinds_and_one_alone():
    scores, same = torch.tensor([0.75, 0.25, 0.375, 0.0]), torch.tensor([True, True, False, False])
    assert error_at_threshold(scores, same, 0.3) == 0.5
    assert error_at_threshold(scores, same, 0.25) == 0.5  # 0.25 itself is not above the threshold
    assert error_at_threshold(scores, same, 0.2) == 0.25
    assert error_at_threshold(scores[:2], same[:2], 0.3) == 0.5  # FRR
    assert error_at_threshold(scores[2:], same[2:], 0.3) == 0.5  # FAR


def test_best_threshold_is_the_loop_over_cuts():
    for seed in range(10):
        scores, same = pairs(seed, 30, ties=seed % 2 == 0)
        edges = scores.double().unique()
        cuts = [edges[0] - 1, *((edges[1:] + edges[:-1]) / 2), edges[-1] + 1]
        best = max(((scores > cut) == same).double().mean().item() for cut in cuts)
        found = best_threshold(scores, same)
        assert ((scores > found) == same).double().mean().item() == pytest.approx(best)


def test_ten_fold_accuracy_by_hand():
    # fold 1 is separated at 0.5 and fold 0 at 0.1: each threshold is judged on the other fold
    scores = torch.tensor([0.4, 0.0, 0.9, 0.3, 0.6, 0.4])
    same = torch.tensor([True, False, True, True, True, False])
    fold = torch.tensor([0, 0, 0, 0, 1, 1])
    result = ten_fold_accuracy(scores, same, fold)
    assert result.folds == (0.5, 0.5)  # at 0.5: 0.4 and 0.3 rejected; at 0.15: 0.4 accepted
    assert (result.mean, result.std) == (0.5, 0.0)


def test_ten_fold_accuracy_never_sees_its_own_fold():
    scores, same = pairs(7, 600)
    fold = torch.arange(600) % 10
    result = ten_fold_accuracy(scores, same, fold)
    assert len(result.folds) == 10
    for name in range(10):
        test = fold == name
        threshold = best_threshold(scores[~test], same[~test])
        assert result.folds[name] == pytest.approx(((scores > threshold) == same)[test].double().mean().item())
    folds = torch.tensor(result.folds, dtype=torch.float64)
    assert (result.mean, result.std) == pytest.approx((folds.mean().item(), folds.std().item()))


def test_gpu_style_inputs_come_back_as_plain_floats():
    scores, same = pairs(0)
    assert isinstance(eer(scores.half().requires_grad_(), same.int()), float)


@pytest.mark.parametrize("measure", [eer, auc, roc, lambda s, k: tar_at_far(s, k, 0.1)])
def test_bad_input_is_told_in_a_sentence(measure):
    scores, same = pairs(0)
    with pytest.raises(WorkbookError, match="NaN"):
        measure(scores.clone().index_fill_(0, torch.tensor([3]), torch.nan), same)
    with pytest.raises(WorkbookError, match="one score and one label"):
        measure(scores[:-1], same)
    with pytest.raises(WorkbookError, match="all 60 pairs are genuine"):
        measure(scores, torch.ones(60, dtype=torch.bool))
    with pytest.raises(WorkbookError, match="one score and one label"):
        measure(torch.zeros(0), torch.zeros(0))


def test_more_bad_input():
    scores, same = pairs(0)
    with pytest.raises(WorkbookError, match="Weights"):
        eer(scores, same, torch.ones(59))
    with pytest.raises(WorkbookError, match="Weights"):
        eer(scores, same, -torch.ones(60))
    with pytest.raises(WorkbookError, match="0.01"):
        tar_at_far(scores, same, 10)
    with pytest.raises(WorkbookError, match="2 folds"):
        ten_fold_accuracy(scores, same, torch.zeros(60))


def test_worst_scores_by_hand():
    same = torch.tensor([True, True, False, False])
    one, two = torch.tensor([0.9, 0.2, 0.1, 0.6]), torch.tensor([0.5, 0.4, 0.3, 0.2])
    assert worst_scores(same, one, two).tolist() == pytest.approx([0.5, 0.2, 0.3, 0.6])
    assert eer(worst_scores(same, one, two), same) >= max(eer(one, same), eer(two, same))


def test_one_minus_eer_turns_the_rate_round():
    from lib.evaluation import one_minus_eer

    scores, same = torch.tensor([0.9, 0.4, 0.5, 0.1]), torch.tensor([True, True, False, False])
    assert one_minus_eer(scores, same) == 1 - eer(scores, same) == 0.5
    weights = torch.ones(3, 4)
    assert torch.equal(one_minus_eer(scores, same, weights), 1 - eer(scores, same, weights))
