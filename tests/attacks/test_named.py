"""Every registered attack of the core on tiny models: in range, inside the budget, the same for a seed; and harmful."""

from dataclasses import replace

import pytest
import torch

from lib.attacks import (
    ATTACKS,
    L2,
    Evolution,
    Intensity,
    Linf,
    NamedAttack,
    attacks_on,
    cross_entropy,
    named_attack,
    register,
    verification,
)
from lib.attacks.budgets import norms
from lib.attacks.named import into
from lib.data.examples import ImagePairs, LabelledImages
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

X = pictures(6).float()
MODEL = SmallNet().float()
PAIRS = ImagePairs(X, pictures(6, seed=2).float(), torch.arange(6) < 3)
IMAGES = LabelledImages(X, MODEL(X).argmax(1))
QUICK = {
    "AutoAttack": {"iterations": 2, "queries": 20},
    "AutoAttack-rand": {"iterations": 2},
    "Square": {"queries": 20},
    "evolutionary": {"settings": Evolution(queries=30, report=(), grid=12)},
}
NEVER_BACKWARD = ("AutoAttack", "AutoAttack-rand", "Square", "evolutionary", "TPGD")  # give unbroken images back clean
EVERY = [attack for attack in ATTACKS.values() if not attack.name.startswith("PIN")]


def quick(attack):
    return attack.but(**QUICK.get(attack.name, {}))


def examples_of(attack):
    return PAIRS if attack.system == "recogniser" else IMAGES


def region_holds(budget, moved):
    region = budget.around(X)
    size = (moved - X).abs().amax((1, 2, 3)) if isinstance(budget, Linf) else norms(moved - X).flatten()
    return bool((size <= region.radius.flatten() * (1 + 1e-4) + 1e-6).all())


@pytest.mark.parametrize("budget", [Linf("8/255"), L2(0.5), Intensity(0.04, norm="l2")], ids=str)
@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: f"{attack.name} on a {attack.system}")
def test_stays_in_range_and_budget_and_repeats(attack, budget):
    if attack.name in ("AutoAttack", "Square") and not isinstance(budget, Linf):
        pytest.skip("pyautoattack's Square cannot cut images of 12 pixels into its L2 tiles")
    before = torch.random.get_rng_state()
    moved, again = (quick(attack)(MODEL, examples_of(attack), budget, seed=3) for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(moved, again)
    assert moved.shape == X.shape
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert region_holds(budget, moved)


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: f"{attack.name} on a {attack.system}")
def test_does_harm_on_average(attack):
    pairs = attack.system == "recogniser"
    goal = verification(MODEL, PAIRS.y, PAIRS.same) if pairs else cross_entropy(MODEL, IMAGES.labels)
    moved = quick(attack)(MODEL, examples_of(attack), Linf("8/255"), seed=0)
    change = (goal(moved) - goal(X)).mean()
    assert change >= 0 if attack.name in NEVER_BACKWARD else change > 0


def test_iterating_beats_one_step_and_a_random_point():
    goal = cross_entropy(MODEL, IMAGES.labels)
    scores = {
        name: goal(named_attack(name, "classifier")(MODEL, IMAGES, Linf("8/255"))).mean()
        for name in ("FGSM", "PGD", "random search")
    }
    assert scores["PGD"] > scores["FGSM"] > scores["random search"]


def test_a_perturbation_is_scaled_to_the_border():
    moved = X.clone()
    moved[0] = (X[0] + 0.001).clamp(0, 1)
    found = into(X, moved, Linf(0.1))
    assert (found[0] - X[0]).abs().max() == pytest.approx(0.1, rel=1e-4)
    assert torch.equal(found[1:], X[1:])


def test_names_are_looked_up_and_unique():
    one = named_attack("PGD", "classifier")
    assert one in attacks_on("classifier")
    assert register(one) is one
    with pytest.raises(WorkbookError, match="already"):
        register(replace(one, says="Something else."))
    with pytest.raises(WorkbookError, match="no attack 'PDG' on a classifier"):
        named_attack("PDG", "classifier")
    with pytest.raises(WorkbookError, match="knowledge is one of"):
        NamedAttack("new", "classifier", "psychic", "Knows all.", one.run)
