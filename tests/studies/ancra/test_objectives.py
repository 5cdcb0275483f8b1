"""The attacks on reverse attention against losses written out image by image, and the bug of the summed margin."""

import pytest
import torch

from lib.attacks import PGD, Linf, ascend, cross_entropy, in_batches, margin
from lib.errors import WorkbookError
from lib.models.resnets import ResNet
from lib.studies.ancra.classifiers import GatedClassifier, View, bypass, hard, soft, with_gates
from lib.studies.ancra.objectives import GAMMA, HEADS, batch_margin, gated, likely_wrong, total_loss
from tests.attacks.small import pictures

X, LABELS = pictures(size=16), torch.arange(12) % 5


def network(gates, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GatedClassifier(ResNet(18, 4, "half"), 5, gates).double().eval()


MODEL = network(2)
PLAIN = with_gates(MODEL, 0)


def close(one, two):
    torch.testing.assert_close(one, two)


def slow(kind, logits, labels):
    """A loss, image by image."""
    rows = []
    for row, label in zip(logits, labels.tolist(), strict=True):
        others = [value for place, value in enumerate(row) if place != label]
        rows.append(max(others) - row[label] if kind == "margin" else -row.log_softmax(0)[label])
    return torch.stack(rows)


WEIGHTS = {  # of P', of the first P and of the last P
    "final": (1, 0, 0),
    "last": (0, 0, 1),
    "auxiliary": (0, 1, 1),
    "all": (1, 1, 1),
    "total": (1, GAMMA / 2, GAMMA / 2),
}


@pytest.mark.parametrize("kind", ["margin", "cross-entropy"])
@pytest.mark.parametrize("heads", list(HEADS))
def test_heads_are_weighted_sums(heads, kind):
    found = MODEL.outputs(X, soft(2.0))
    parts = (found.logits, *found.auxiliary)
    expected = sum(weight * slow(kind, part, LABELS) for weight, part in zip(WEIGHTS[heads], parts, strict=True))
    close(gated(MODEL, LABELS, heads, soft(2.0), kind)(X), expected)
    close(gated(MODEL, LABELS, heads, soft(2.0), kind, targeted=True)(X), -expected)


def test_without_gates_every_choice_is_the_logits():
    for heads in HEADS:
        close(gated(PLAIN, LABELS, heads)(X), slow("margin", PLAIN(X), LABELS))
    close(total_loss(PLAIN, LABELS)(X), cross_entropy(PLAIN, LABELS)(X))


def test_the_total_loss_is_the_source_s():
    found = MODEL.outputs(X)
    parts = torch.stack([slow("cross-entropy", part, LABELS) for part in found.auxiliary])
    expected = slow("cross-entropy", found.logits, LABELS) + 2 * parts.mean(0)
    close(total_loss(MODEL, LABELS)(X), expected)
    targeted = torch.arange(12) < 5
    close(total_loss(MODEL, LABELS, targeted)(X), torch.where(targeted, -expected, expected))


def test_a_bypassed_model_is_the_one_without_gates():
    close(gated(MODEL, LABELS, gate=bypass)(X), margin(PLAIN, LABELS)(X))


def test_the_last_auxiliary_of_one_gate_is_the_undefended_network():
    deployed = with_gates(MODEL, 1)
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    moved = ascend(gated(deployed, LABELS, "last"), X, Linf("8/255"), PGD, generator=draws[0])
    close(moved, ascend(margin(PLAIN, LABELS), X, Linf("8/255"), PGD, generator=draws[1]))


def test_it_is_cut_into_rows():
    whole, settings = gated(MODEL, LABELS, "all", soft()), PGD.but(steps=3, start="clean")
    close(whole.rows(slice(4, 9))(X[4:9]), whole(X)[4:9])
    close(in_batches(whole, X, Linf("4/255"), settings, batch=5), ascend(whole, X, Linf("4/255"), settings))


def test_a_soft_gate_sees_the_flip_that_a_hard_one_hides():
    """Behind a hard gate the final logits' gradient is that of fixed masks, whatever the auxiliary logits do."""
    leaf = X.clone().requires_grad_()
    model = with_gates(MODEL, 1)
    found = model.outputs(leaf)
    mask = model.fc.weight[found.auxiliary[0].argmax(1)].detach()
    by_hand = torch.autograd.grad(slow("margin", model.fc(found.plain * mask), LABELS).sum(), leaf)[0]
    hard_one, soft_one = (
        torch.autograd.grad(gated(model, LABELS, gate=gate)(leaf).sum(), leaf)[0] for gate in (hard, soft())
    )
    close(hard_one, by_hand)
    assert (soft_one - by_hand).abs().max() > 1e-6


def test_the_summed_margin_dies_with_its_batch():
    logits = MODEL(X).detach()
    right = logits.argmax(1)
    wrong = logits.argmin(1)
    for labels, alive in ((right, True), (wrong, False), (torch.where(torch.arange(12) < 1, right, wrong), False)):
        objective, leaf = batch_margin(MODEL, labels), X.clone().requires_grad_()
        value = objective(leaf)
        close(value.sum(), -torch.relu(-slow("margin", MODEL(X), labels).sum()))
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        assert bool((gradient != 0).any()) == alive
    assert (torch.autograd.grad(margin(MODEL, labels)(leaf).sum(), leaf)[0] != 0).flatten(1).any(1).all()
    with pytest.raises(WorkbookError, match="couples"):
        objective.rows(slice(0, 3))


def test_likely_wrong_classes():
    logits = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 2.0]])
    assert likely_wrong(logits, torch.tensor([0, 3]), 2).tolist() == [[2, 1], [1, 2]]
    assert likely_wrong(logits, torch.tensor([0, 3]), 9).tolist() == [[2, 1, 3], [1, 2, 0]]


def test_bad_input():
    with pytest.raises(WorkbookError, match="heads is one of"):
        gated(MODEL, LABELS, "first")
    with pytest.raises(WorkbookError, match="loss is one of"):
        gated(MODEL, LABELS, loss="hinge")
    with pytest.raises(WorkbookError, match="no auxiliary"):
        View(PLAIN, auxiliary=True)
