"""Pairs of features: drawn rightly, measured at the right places, and summed up as by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.attacks import PGD, Linf, ascend
from lib.errors import WorkbookError
from lib.studies.ancra.attacks import decisions
from lib.studies.ancra.classifiers import bypass, hard
from lib.studies.ancra.feature_gap import (
    FEATURE_ATTACKS,
    PLACES,
    TEN_STEPS,
    apart,
    chosen,
    distances,
    feature_attack,
    gaps,
    least_aligned,
    other_class,
    pooled,
    relative,
    tail,
)
from lib.studies.ancra.objectives import gated
from tests.studies.ancra.test_attacks import DEPLOYED, EXAMPLES, LABELS, MODEL, PLAIN, X


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30).filter(lambda labels: len(set(labels)) > 1))
@settings(max_examples=50, deadline=None)
def test_partners_are_of_another_class(labels):
    labels = torch.tensor(labels)
    partner = other_class(labels)
    assert (labels[partner] != labels).all()
    assert torch.equal(partner, other_class(labels))


def test_every_other_image_is_as_likely():
    labels = torch.tensor([0, 2, 0, 2, 5])
    seen = torch.stack([other_class(labels, seed) for seed in range(600)])
    for row, label in enumerate(labels):
        others = (labels != label).nonzero().flatten()
        share = (seen[:, row, None] == others).double().mean(0)
        torch.testing.assert_close(share, torch.full_like(share, 1 / len(others)), atol=0.08, rtol=0)


def test_one_class_has_no_negative_pairs():
    with pytest.raises(WorkbookError, match="need two classes, but all 4 labels are the same"):
        other_class(torch.ones(4))


def test_places():
    with torch.no_grad():
        found, outputs = pooled(MODEL, X), MODEL.outputs(X)
        maps = MODEL.trunk.blocks[-1][0](MODEL.trunk.blocks[:-1](MODEL.trunk.stem(X)))
    assert found.shape == (12, len(PLACES), MODEL.fc.in_features)
    torch.testing.assert_close(found[:, 0], maps.mean((2, 3)))
    torch.testing.assert_close(found[:, 1], outputs.plain)
    torch.testing.assert_close(found[:, 2], outputs.features)


def test_a_mask_changes_nothing_before_it():
    bare, masked = pooled(PLAIN, X), pooled(DEPLOYED, X)
    torch.testing.assert_close(bare[:, 1], bare[:, 2])
    torch.testing.assert_close(masked[:, :2], bare[:, :2])
    with torch.no_grad():
        mask = hard(PLAIN(X), PLAIN.fc.weight)
    torch.testing.assert_close(masked[:, 2], bare[:, 2] * mask)


def test_the_classes_that_choose_masks():
    with torch.no_grad():
        outputs = MODEL.outputs(X)
    assert torch.equal(chosen(MODEL, X), torch.stack([head.argmax(1) for head in outputs.auxiliary], 1))
    assert torch.equal(chosen(PLAIN, X)[:, 0], decisions(PLAIN, X))
    assert torch.equal(chosen(DEPLOYED, X), chosen(PLAIN, X))


def test_three_gates_are_refused():
    MODEL.gates = 3
    try:
        with pytest.raises(WorkbookError, match="up to 2 gates, not 3"):
            pooled(MODEL, X)
    finally:
        MODEL.gates = 2


def test_distances_by_hand_and_the_factor():
    first, second = torch.tensor([[[3.0, 4.0, 0.0]]]), torch.tensor([[[4.0, 3.0, 0.0]]])
    found = distances(first, second)
    torch.testing.assert_close(found["cosine"], torch.tensor([[0.96]]))
    torch.testing.assert_close(found["L2"], torch.tensor([[2**0.5]]))
    smaller = distances(first / 10, second / 10)
    torch.testing.assert_close(smaller["cosine"], found["cosine"])
    torch.testing.assert_close(smaller["L2"], found["L2"] / 10)


def test_relative_knows_no_factor():
    near, far = torch.rand(2, 9), 1 + torch.rand(2, 9)
    factor = torch.tensor([[0.1], [7.0]])
    torch.testing.assert_close(relative(near * factor, far * factor), relative(near, far))
    torch.testing.assert_close(relative(far, far).median(1).values, torch.ones(2))


def test_the_source_attack_is_pgd_on_the_final_logits():
    expected = ascend(
        gated(MODEL, LABELS, loss="cross-entropy"),
        X,
        Linf("8/255"),
        PGD.but(steps=3, step=0.007),
        generator=torch.Generator().manual_seed(0),
    )
    assert torch.equal(feature_attack(MODEL, EXAMPLES, settings=TEN_STEPS.but(steps=3)), expected)


@pytest.mark.parametrize("attack", list(FEATURE_ATTACKS))
@pytest.mark.parametrize("model", [MODEL, PLAIN])
def test_attacks_stay_in_the_box(model, attack):
    images = feature_attack(model, EXAMPLES, attack, settings=TEN_STEPS.but(steps=2))
    assert (images - X).abs().max() <= 8 / 255 + 1e-6
    assert not torch.equal(images, X)


def test_apart_turns_features_away():
    with torch.no_grad():
        natural = PLAIN.outputs(X).features
        goal = apart(PLAIN, X)
        torch.testing.assert_close(goal(X), -torch.ones(12))
        images = feature_attack(PLAIN, EXAMPLES, "apart")
        start = feature_attack(PLAIN, EXAMPLES, "apart", settings=TEN_STEPS.but(steps=1, step=0.0))
        cosine = [torch.cosine_similarity(PLAIN.outputs(part).features, natural) for part in (images, start)]
    assert (cosine[0] < cosine[1]).all()
    torch.testing.assert_close(goal(images), -cosine[0])


def test_apart_goes_through_the_gate_it_is_given():
    with torch.no_grad():
        reference, moved = MODEL.outputs(X).features, MODEL.outputs(X, bypass).features
    torch.testing.assert_close(apart(MODEL, X, bypass)(X), -torch.cosine_similarity(moved, reference))


def test_an_unknown_attack_is_refused():
    with pytest.raises(WorkbookError, match="not 'PGD': choose one of them"):
        feature_attack(MODEL, EXAMPLES, "PGD")


def test_gaps_measure_the_real_model():
    found = gaps(MODEL, EXAMPLES, ["final", "apart"], settings=TEN_STEPS.but(steps=2), seed=3)
    assert list(found) == ["NP", "final", "apart", "worst"]
    natural, images = (
        pooled(MODEL, X),
        feature_attack(MODEL, EXAMPLES, "apart", settings=TEN_STEPS.but(steps=2), seed=3),
    )
    partner, masks = other_class(LABELS, 3), chosen(MODEL, X)
    same = {"switched": (masks != masks[partner]).any(1)}
    torch.testing.assert_close(found["NP"], distances(natural, natural[partner]) | same)
    torch.testing.assert_close(found["apart"]["L2"], (natural - pooled(MODEL, images)).norm(dim=2))
    assert torch.equal(found["apart"]["flipped"], decisions(MODEL, images) != decisions(MODEL, X))
    assert torch.equal(found["apart"]["correct"], decisions(MODEL, images) == LABELS)
    assert torch.equal(found["apart"]["switched"], (chosen(MODEL, images) != chosen(MODEL, X)).any(1))
    lowest = torch.minimum(found["final"]["cosine"][:, 2], found["apart"]["cosine"][:, 2])
    assert torch.equal(found["worst"]["cosine"][:, 2], lowest)


def test_the_least_aligned_keep_their_row_together():
    pairs = [{"cosine": torch.rand(6, 3), "flipped": torch.rand(6) > 0.5} for _ in range(3)]
    found = least_aligned(pairs)
    for row in range(6):
        mine = min(pairs, key=lambda part: part["cosine"][row, 2])
        assert torch.equal(found["cosine"][row], mine["cosine"][row])
        assert found["flipped"][row] == mine["flipped"][row]


def test_tails():
    values = torch.tensor([0.5, 0.6, 0.95, 2.0, 5.0, 6.0])
    assert tail(values, "NP", "cosine").tolist() == [False, True, True, True, True, True]
    assert tail(values, "PP", "cosine").tolist() == [True, True, True, False, False, False]
    assert tail(values, "NP", "L2").tolist() == [True, True, True, True, True, False]
    assert tail(values, "PP", "L2").tolist() == [False, False, False, True, True, True]
