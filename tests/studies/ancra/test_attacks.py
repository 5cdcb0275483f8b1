"""The source's attacks and their judgement: all images, corrected ones included, and the exact case of one gate."""

from dataclasses import replace

import pytest
import torch

from lib.attacks import PGD, Linf, ascend, cross_entropy
from lib.attacks.registry import named_attack
from lib.data.examples import LabelledImages
from lib.errors import WorkbookError
from lib.models.resnets import ResNet
from lib.studies.ancra.adaptive_attacks import adaptive_attack
from lib.studies.ancra.attacks import (
    SOURCE,
    SUMMED,
    agreement,
    correct_by_output,
    decisions,
    features_of,
    is_correct,
    source_attacks,
    source_images,
    transfer,
)
from lib.studies.ancra.classifiers import GatedClassifier, with_gates
from lib.studies.ancra.objectives import batch_margin, total_loss


def network(gates, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GatedClassifier(ResNet(18, 4, "half"), 5, gates)
    return model.eval()


X = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
MODEL = network(2)
PLAIN, DEPLOYED = with_gates(MODEL, 0), with_gates(MODEL, 1)
with torch.no_grad():
    LABELS = torch.where(torch.arange(12) < 9, PLAIN(X).argmax(1), torch.arange(12) % 5)
EXAMPLES = LabelledImages(X, LABELS)


def test_decisions_are_the_answers_of_the_hard_gates():
    with torch.no_grad():
        expected = torch.stack([MODEL.outputs(image[None]).logits[0].argmax() for image in X])
    assert torch.equal(decisions(MODEL.train(), X), expected)
    assert MODEL.training
    MODEL.eval()
    assert torch.equal(is_correct(MODEL, X, LABELS), expected == LABELS)


def test_each_output_of_table_x():
    found = correct_by_output(MODEL, EXAMPLES)
    with torch.no_grad():
        outputs = MODEL.outputs(X)
    assert torch.equal(found["auxiliary P"], outputs.auxiliary[1].argmax(1) == LABELS)
    assert torch.equal(found["final P'"], outputs.logits.argmax(1) == LABELS)
    assert torch.equal(found["final without RA P''"], is_correct(PLAIN, X, LABELS))
    assert torch.equal(agreement(MODEL, X), outputs.auxiliary[1].argmax(1) == outputs.logits.argmax(1))
    torch.testing.assert_close(features_of(MODEL, X), outputs.features)


@pytest.mark.parametrize("attack", list(SOURCE))
def test_images_stay_near_and_repeat(attack):
    moved = source_images(MODEL, EXAMPLES, attack, steps=3, seed=5)
    assert (moved - X).abs().max() <= 8 / 255 + 1e-6
    assert torch.equal(moved, source_images(MODEL, EXAMPLES, attack, steps=3, seed=5))


def test_pgd_is_the_plain_loop():
    for heads, goal in (("final", cross_entropy(MODEL, LABELS)), ("total", total_loss(MODEL, LABELS))):
        settings, draw = PGD.but(steps=4, step=0.007), torch.Generator().manual_seed(2)
        expected = ascend(goal, X, Linf("8/255"), settings, generator=draw)
        assert torch.equal(source_images(MODEL, EXAMPLES, "PGD", heads, steps=4, seed=2), expected)


def test_the_summed_attack_stops_when_its_batch_is_broken():
    with torch.no_grad():
        wrong = MODEL(X).argmin(1)
    start, moved = (source_images(MODEL, LabelledImages(X, wrong), SUMMED, steps=steps, seed=1) for steps in (1, 5))
    assert torch.equal(start, moved)
    draw = torch.Generator().manual_seed(1)
    parts = [
        ascend(batch_margin(MODEL, LABELS[rows]), X[rows], Linf("8/255"), PGD.but(steps=5, step=0.007), generator=draw)
        for rows in (slice(0, 8), slice(8, 12))
    ]
    summed = replace(SOURCE[SUMMED].run, settings=PGD.but(steps=5, step=0.007), batch=8)
    assert torch.equal(summed(MODEL, EXAMPLES, Linf("8/255"), 1), torch.cat(parts))


def test_corrected_images_count_as_in_the_source():
    found = source_attacks(MODEL, EXAMPLES, ("PGD", "FGSM", SUMMED), steps=2, seed=3)
    assert list(found) == ["Nat", "PGD", "FGSM", SUMMED]
    assert torch.equal(found["Nat"], is_correct(MODEL, X, LABELS))
    assert torch.equal(found["FGSM"], is_correct(MODEL, source_images(MODEL, EXAMPLES, "FGSM", seed=3), LABELS))
    moved = source_images(MODEL, EXAMPLES, "PGD", steps=2, seed=3)
    assert torch.equal(found["PGD"], decisions(MODEL, moved) == LABELS)  # also where "Nat" is wrong


def test_self_transfer_leaves_the_undefended_accuracy():
    """One gate: P is the undefended network's, so wherever P' and P agree its adversarial images do the same harm."""
    moved = source_images(PLAIN, EXAMPLES, steps=5)
    same = agreement(DEPLOYED, moved)
    found = transfer(PLAIN, {"itself": PLAIN, "deployed": DEPLOYED}, EXAMPLES, steps=5)
    assert torch.equal(found["deployed"][same], found["itself"][same])


def test_with_disjoint_weights_final_and_auxiliary_always_agree():
    """Weights of no common channel and no bias: P' is 0 but for the predicted class, where it is a sum of squares."""
    plain = with_gates(PLAIN, 0)
    with torch.no_grad():
        plain.fc.weight.mul_(torch.arange(5)[:, None] == torch.arange(32) % 5)
        plain.fc.bias.zero_()
    deployed, examples = with_gates(plain, 1), LabelledImages(X, decisions(plain, X))
    assert agreement(deployed, X).all()
    found = transfer(plain, {"itself": plain, "deployed": deployed}, examples, steps=10)
    assert torch.equal(found["itself"], found["deployed"])
    assert not found["deployed"].all()
    bypassed, bare = (adaptive_attack(model, examples, "A5 bypassed") for model in (deployed, plain))
    assert torch.equal(bypassed, bare)


@pytest.mark.parametrize("name", list(SOURCE))
def test_the_registry_runs_the_source_s_attacks(name):
    attack = named_attack(f"ANCRA {name}", "classifier")
    assert attack is SOURCE[name]
    assert attack.knowledge == "white box"
    assert attack.run.settings.steps == {"FGSM": 1, "PGD": 40, "C&W": 40, "MIM": 40}.get(name, 20)
    few = EXAMPLES.rows(slice(3))
    assert torch.equal(attack(MODEL, few, Linf("8/255"), 4), source_images(MODEL, few, name, seed=4))


def test_bad_input():
    with pytest.raises(WorkbookError, match="source's attacks are"):
        source_images(MODEL, EXAMPLES, "DeepFool")
