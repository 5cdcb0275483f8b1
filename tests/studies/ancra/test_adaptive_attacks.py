"""The adaptive attacks: judged by the real model alone, joined to a worst case, fair to models without gates."""

from dataclasses import replace

import pytest
import torch

from lib.attacks import Linf, ascend
from lib.attacks.registry import named_attack
from lib.errors import WorkbookError
from lib.studies.ancra.adaptive_attacks import (
    ADAPTIVE,
    STEPPED,
    adaptive_attack,
    adaptive_attacks,
    correct_after,
    correct_by_budget,
    correct_under_all,
    gradient_norms,
    official,
    random_search,
)
from lib.studies.ancra.attacks import is_correct
from lib.studies.ancra.classifiers import soft
from lib.studies.ancra.objectives import gated, likely_wrong
from tests.studies.ancra.test_attacks import EXAMPLES, LABELS, MODEL, PLAIN, X

FAST = STEPPED.but(steps=3)


def test_one_climb_is_the_plain_loop_on_the_images_that_are_right():
    correct = is_correct(MODEL, X, LABELS)
    rows = correct.nonzero().flatten()
    goal = gated(MODEL, LABELS[rows], "last")
    moved = ascend(goal, X[rows], Linf("8/255"), FAST, generator=torch.Generator().manual_seed(0))
    correct[rows] = is_correct(MODEL, moved, LABELS[rows])
    assert torch.equal(adaptive_attack(MODEL, EXAMPLES, "A1 last auxiliary", settings=FAST), correct)


def test_climbs_see_only_what_is_left():
    seen = []

    def climb(rows):
        seen.append(rows)
        return gated(MODEL, LABELS[rows], "auxiliary")

    found = correct_after(MODEL, EXAMPLES, [climb] * 3, FAST, eps="2/255")
    assert torch.equal(seen[0], is_correct(MODEL, X, LABELS).nonzero().flatten())
    for earlier, later in zip(seen, [*seen[1:], found.nonzero().flatten()], strict=True):
        assert torch.isin(later, earlier).all()


@pytest.mark.parametrize("model", [MODEL, PLAIN])
def test_the_worst_case_is_below_all(model):
    found = adaptive_attacks(model, EXAMPLES, settings=FAST, eps="1/255", targets=2)
    assert list(found) == list(ADAPTIVE)
    together, clean = correct_under_all(found), is_correct(model, X, LABELS)
    for correct in found.values():
        assert correct.dtype == torch.bool
        assert len(correct) == len(X)
        assert not (together & ~correct).any()
        assert not (correct & ~clean).any()


def test_more_restarts_and_steps_break_more():
    one, three = (
        adaptive_attack(MODEL, EXAMPLES, "A2 all auxiliary", settings=FAST, restarts=count, eps="1/255")
        for count in (1, 3)
    )
    assert not (three & ~one).any()
    assert not adaptive_attack(MODEL, EXAMPLES, "A2 all auxiliary", settings=STEPPED, eps="64/255").any()


def test_targeted_tries_the_likeliest_classes_in_turn():
    model, eps, name = MODEL, "1/255", "A6 targeted"
    correct, draw = is_correct(model, X, LABELS), torch.Generator().manual_seed(1000 * list(ADAPTIVE).index(name))
    with torch.no_grad():
        aims = likely_wrong(model.outputs(X).auxiliary[-1], LABELS, 2)
    for turn in range(2):
        rows = correct.nonzero().flatten()
        goal = gated(model, aims[rows, turn], "all", soft(), "cross-entropy", True)
        correct[rows] = is_correct(model, ascend(goal, X[rows], Linf(eps), FAST, generator=draw), LABELS[rows])
    assert torch.equal(adaptive_attack(model, EXAMPLES, name, settings=FAST, targets=2, eps=eps), correct)


def test_a_row_does_not_depend_on_the_others():
    names = ["A3 total loss", "A4 soft, T = 1"]
    together = adaptive_attacks(MODEL, EXAMPLES, settings=FAST, eps="1/255")
    for name in names:
        alone = adaptive_attack(MODEL, EXAMPLES, name, settings=FAST, eps="1/255")
        assert torch.equal(together[name], alone)


def test_random_search_breaks_less_than_a_climb():
    clean = is_correct(MODEL, X, LABELS)
    few, many = (random_search(MODEL, EXAMPLES, points, eps="32/255") for points in (1, 20))
    assert not (many & ~few).any()
    assert not (few & ~clean).any()
    climbed = correct_by_budget(MODEL, EXAMPLES, [("32/255", 20)], "auxiliary")[0]
    assert climbed.sum() <= many.sum()


def test_larger_budgets_break_more():
    found = correct_by_budget(MODEL, EXAMPLES, [("0", 3), ("1/255", 1), ("64/255", 20)], "auxiliary")
    assert torch.equal(found[0], is_correct(MODEL, X, LABELS))
    assert found[0].sum() >= found[1].sum() > found[2].sum() == 0


@pytest.mark.parametrize("through", ["final", "auxiliary", "soft"])
def test_autoattack_through_a_view_is_judged_on_the_model(through):
    few = {"iterations": 2, "queries": 3, "targets": 2, "eps": "4/255"}
    found = official(MODEL, EXAMPLES, through, **few)
    assert not (found["correct"] & ~is_correct(MODEL, X, LABELS)).any()
    assert list(found["survivors"]) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert all(isinstance(sentence, str) for sentence in found["warnings"])
    if through == "final":
        assert torch.equal(found["correct"], found["survivors"]["square"])
    plain = official(PLAIN, EXAMPLES, through, version="apgd-ce", **few)
    assert torch.equal(plain["correct"], official(PLAIN, EXAMPLES, version="apgd-ce", **few)["correct"])


def test_square_alone():
    assert list(official(MODEL, EXAMPLES, version="square", queries=3)["survivors"]) == ["square"]


def test_the_registry_gives_the_images_that_break():
    budget = Linf("8/255")
    for name in ("A2 all auxiliary", "A6 targeted"):
        attack = named_attack(f"ANCRA {name}", "classifier")
        assert attack is ADAPTIVE[name]
        assert attack.knowledge == "adaptive"
        images = replace(attack.run, settings=FAST, targets=2)(MODEL, EXAMPLES, budget, 3)
        assert (images - X).abs().max() <= 8 / 255 + 1e-6
        correct = is_correct(MODEL, X, LABELS) & is_correct(MODEL, images, LABELS)
        assert torch.equal(correct, adaptive_attack(MODEL, EXAMPLES, name, settings=FAST, targets=2, seed=3))


def test_gradient_norms():
    norms = gradient_norms(MODEL, EXAMPLES, "total")
    leaf = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(gated(MODEL, LABELS, "total", loss="cross-entropy")(leaf).sum(), leaf)
    torch.testing.assert_close(norms, gradient.flatten(1).norm(dim=1))


def test_bad_input():
    with pytest.raises(WorkbookError, match="adaptive attacks are"):
        adaptive_attack(MODEL, EXAMPLES, "A9")
    with pytest.raises(WorkbookError, match="goes through"):
        official(MODEL, EXAMPLES, "window")
