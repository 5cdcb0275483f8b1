"""Reverse attention against loops over images and channels."""

import copy

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.models.preact import PreActResNet, WideResNet
from lib.models.resnets import ResNet
from lib.studies.ancra.classifiers import (
    GatedClassifier,
    View,
    bypass,
    hard,
    labelled,
    soft,
    straight_through,
    with_gates,
)

CLASSES = 4
X = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(1))
LABELS = torch.tensor([3, 0, 1, 3, 2])
TRUNKS = {
    "resnet": lambda: ResNet(18, width=2, stem="half"),
    "preact": lambda: PreActResNet(18, width=2, stem="half"),
    "wide": lambda: WideResNet(16, widen=1, base=2),
}
every_trunk = pytest.mark.parametrize("name", TRUNKS)


def classifier(name="resnet", gates=0):
    torch.manual_seed(3)
    model = GatedClassifier(TRUNKS[name](), CLASSES, gates).eval()
    nn.init.normal_(model.fc.weight)
    nn.init.normal_(model.fc.bias)
    return model


def linear(features, fc):
    """One logit at a time: sum_c w[k, c] z[c] + b[k]."""
    return torch.stack(
        [
            torch.stack([sum(fc.weight[k, c] * z[c] for c in range(len(z))) + fc.bias[k] for k in range(CLASSES)])
            for z in features
        ]
    )


def by_hand(model, x, class_of):
    """ANCRA, section III-D, channel by channel; `class_of(i, logits)` chooses the class of image i."""
    blocks = list(model.trunk.blocks[-1])
    maps = model.trunk.stem(x)
    for stage in model.trunk.blocks[:-1]:
        maps = stage(maps)
    auxiliary = []
    for place, block in enumerate(blocks):
        maps = block(maps)
        if place < len(blocks) - model.gates:
            continue
        maps = model.trunk.tail(maps) if hasattr(model.trunk, "tail") else maps
        auxiliary.append(linear([maps[i].mean((1, 2)) for i in range(len(x))], model.fc))
        weighted = maps.clone()
        for i in range(len(x)):
            chosen = class_of(i, auxiliary[-1][i])
            for c in range(maps.shape[1]):
                weighted[i, c] = maps[i, c] * model.fc.weight[chosen, c]
        maps = weighted
    features = torch.stack([maps[i].mean((1, 2)) for i in range(len(x))])
    return linear(features, model.fc), auxiliary, features


@torch.no_grad()
@every_trunk
@pytest.mark.parametrize("gates", [1, 2])
@pytest.mark.parametrize("known", [False, True])
def test_reverse_attention_by_hand(name, gates, known):
    model = classifier(name, gates)
    found = model.outputs(X, labelled(LABELS) if known else hard)
    logits, auxiliary, features = by_hand(model, X, lambda i, row: LABELS[i] if known else row.argmax())
    for ours, theirs in zip(found.auxiliary, auxiliary, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.features, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(linear(found.plain, model.fc), auxiliary[-1], rtol=1e-4, atol=1e-5)
    assert found.heads == (found.logits, *found.auxiliary)
    assert known or torch.equal(model(X), found.logits)


@torch.no_grad()
@every_trunk
def test_without_gates_it_is_the_trunk_and_a_linear_layer(name):
    model = classifier(name)
    found = model.outputs(X)
    torch.testing.assert_close(model(X), model.fc(model.trunk(X)))
    torch.testing.assert_close(found.features, model.trunk(X))
    assert found.auxiliary == ()
    assert found.heads == (found.logits,)
    assert found.features is found.plain


@torch.no_grad()
@every_trunk
def test_the_last_auxiliary_logits_of_one_gate_are_the_plain_models(name):
    """Why adversarial examples of a model carry over to the same weights with reverse attention."""
    model = classifier(name)
    gated = with_gates(model, 1)
    torch.testing.assert_close(gated.outputs(X).auxiliary[0], model(X))
    torch.testing.assert_close(gated.outputs(X, bypass).logits, model(X))
    torch.testing.assert_close(View(gated, auxiliary=True)(X), model(X))
    torch.testing.assert_close(View(gated, bypass)(X), model(X))
    assert not torch.allclose(gated(X), model(X), atol=1e-2)


@torch.no_grad()
def test_bypass_of_two_gates_is_the_plain_resnet():
    """Of a pre-activation trunk it is not: there the tail is passed before each gate."""
    torch.testing.assert_close(classifier(gates=2).outputs(X, bypass).logits, classifier()(X))


@torch.no_grad()
def test_soft_gates_by_hand():
    logits, weight = torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[1.0, -1.0, 3.0], [5.0, 2.0, 3.0]])
    share = 1 / (1 + torch.tensor(3.0).exp())  # of class 0 in image 0, at temperature 3
    expected = torch.stack([share * weight[0] + (1 - share) * weight[1], weight.mean(0)])
    torch.testing.assert_close(soft(3.0)(logits, weight), expected)
    for far in (soft(1e4), straight_through(0.3)):
        torch.testing.assert_close(far(logits[:1], weight), hard(logits[:1], weight))
    assert torch.equal(hard(logits[:1], weight), weight[1:])
    assert torch.equal(labelled(torch.tensor([1, 0]))(logits, weight), weight.flip(0))
    assert torch.equal(bypass(logits, weight), torch.ones(2, 3))


def test_the_class_of_a_hard_gate_has_no_gradient():
    weight = torch.randn(CLASSES, 6, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for gate in (hard, labelled(LABELS), bypass):
        assert not gate(logits, weight).requires_grad
    masks = [gate(logits, weight) for gate in (straight_through(0.7), soft(0.7))]
    one, two = (torch.autograd.grad(mask.sin().sum(), logits)[0] for mask in masks)
    with torch.no_grad():
        share = (0.7 * logits).softmax(1)
    for i in range(5):  # d mask_c / d logit_k = T p_k (w_kc - sum_j p_j w_jc)
        jacobian = 0.7 * share[i][:, None] * (weight - share[i] @ weight)
        torch.testing.assert_close(two[i], jacobian @ masks[1][i].detach().cos())
        torch.testing.assert_close(one[i], jacobian @ masks[0][i].detach().cos())


def gradient(model, gate):
    x = X.clone().requires_grad_()
    return torch.autograd.grad(model.outputs(x, gate).logits[:, 1].sum(), x)[0]


@every_trunk
@pytest.mark.parametrize("gates", [1, 2])
def test_the_input_gradient_of_a_hard_gate_is_that_of_a_fixed_mask(name, gates):
    model = classifier(name, gates)
    with torch.no_grad():
        masks = iter([hard(part, model.fc.weight) for part in model.outputs(X).auxiliary])
    torch.testing.assert_close(gradient(model, hard), gradient(model, lambda *_: next(masks)))
    through = gradient(model, straight_through(1.0))
    assert not torch.allclose(gradient(model, hard), through, rtol=0.01)
    with torch.no_grad():
        torch.testing.assert_close(model.outputs(X, straight_through(1.0)).logits, model(X), rtol=1e-4, atol=1e-4)


def test_the_gates_weights_learn_through_both_of_their_uses():
    """The logit of the gate's own class is sum_c w_c^2 z_c + b: its derivative is 2 w z."""
    model = classifier(gates=1)
    found = model.outputs(X[:1], labelled(torch.tensor([2])))
    (weight,) = torch.autograd.grad(found.logits[0, 2], model.fc.weight)
    torch.testing.assert_close(weight[2], 2 * model.fc.weight[2].detach() * found.plain[0].detach())
    assert not weight[[0, 1, 3]].any()


@every_trunk
def test_with_gates_keeps_weights_and_shares_none(name):
    model = classifier(name)
    model.train()
    gated = with_gates(model, 2)
    assert (gated.gates, model.gates) == (2, 0)
    assert gated.training
    assert gated.state_dict().keys() == model.state_dict().keys()
    before = copy.deepcopy(model.state_dict())
    assert all(torch.equal(value, before[key]) for key, value in gated.state_dict().items())
    with torch.no_grad():
        for weight in gated.parameters():
            weight.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not with_gates(model.eval(), 1).training


def test_the_tail_is_passed_in_each_gated_block():
    calls, model = [], classifier("preact", 2)
    model.trunk.tail.register_forward_hook(lambda *_: calls.append(1))
    for gates in (0, 1, 2):
        model.gates = gates
        calls.clear()
        model(X)
        assert len(calls) == max(1, gates)


def test_bfloat16_and_its_gates():
    model = classifier(gates=2)
    for gate in (hard, labelled(LABELS), soft(), straight_through(), bypass):
        with torch.autocast("cpu", torch.bfloat16):
            found = model.outputs(X, gate)
        assert found.logits.isfinite().all()
        found.logits.float().sum().backward()


def test_bad_settings():
    with pytest.raises(WorkbookError, match="tells 2 or more classes apart, not 1"):
        GatedClassifier(TRUNKS["resnet"](), 1)
    with pytest.raises(WorkbookError, match="so 0 to 2 gates, but 3 came"):
        GatedClassifier(TRUNKS["wide"](), 4, 3)
    with pytest.raises(WorkbookError, match="so 0 to 2 gates, but -1 came"):
        with_gates(classifier(), -1)
    with pytest.raises(WorkbookError, match="no auxiliary logits"):
        View(classifier(), auxiliary=True)
