"""The shrinking batch against the masked one and against a loop written out, and the passes it saves."""

import torch

from lib.losses.contrastive import nt_xent_rows
from lib.models.dual_norm import route
from lib.studies.robust_ssl.astra.attack import Approach, among, attack_by_actions, passes_saved
from lib.studies.robust_ssl.astra.strategy import Actions
from lib.training.passes import count_passes
from tests.studies.robust_ssl.astra.small import RANGES, draw, mixed_actions, network, views

MASKED = Approach(shrink=False)


def test_both_ways_give_the_same_images():
    model, x, actions = network(), views(), mixed_actions()
    shrunk, masked = (attack_by_actions(model, x, actions, draw(), way) for way in (Approach(), MASKED))
    apart = (shrunk - masked).abs() > 1e-6
    assert apart.float().mean() < 2e-3  # where a gradient is all but 0, rounding turns its sign
    assert (shrunk - x).abs().gt(1e-4).any(1).float().mean() > 0.9


def by_hand(model, x, actions, begun):
    eps, step, count = (part.view(-1, 1, 1, 1) for part in (actions.eps, actions.step, actions.steps))
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    moved = begun.clamp(min=low, max=high)
    for turn in range(int(count.max())):
        leaf = moved.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(nt_xent_rows(model.embed(leaf), 0.5).sum(), leaf)
        moved = (moved + (turn < count) * step * gradient.sign()).clamp(min=low, max=high)
    return moved


def test_against_a_loop_by_hand():
    model, x, actions = network(), views(), mixed_actions()
    begun = (x + 8 / 255 * (2 * torch.rand(x.shape, generator=draw()) - 1)).clamp(0, 1)
    with route(model, "adversarial"):
        expected = by_hand(model, x, actions, begun)
    found = attack_by_actions(model, x, actions, draw())
    assert ((found - expected).abs() > 1e-6).float().mean() < 2e-3


def test_each_view_keeps_its_own_budget():
    x, actions = views(), mixed_actions()
    found = attack_by_actions(network(), x, actions, draw())
    far = (found - x).abs().amax((1, 2, 3))
    assert (far <= actions.eps + 1e-6).all()
    assert (far >= actions.eps.clamp(max=8 / 255) - 1e-3).all()  # at least where the start was


def test_the_model_comes_back_as_it_was():
    model = network().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attack_by_actions(model, views(), mixed_actions(), draw())
    assert model.training
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_finished_views_pull_on_the_active_ones():
    """The gradient of the active views is that of the whole loss, the finished ones' terms included."""
    model, x = network(), views()
    active = torch.tensor([True, False] * 4)
    with torch.no_grad():
        finished = model.embed(x)
    leaf = x.clone().requires_grad_()
    (whole,) = torch.autograd.grad(nt_xent_rows(model.embed(leaf), 0.5).sum(), leaf)
    part = x[active].clone().requires_grad_()
    scores = among(model, active, finished, 0.5)(part)
    (own,) = torch.autograd.grad(scores.sum(), part)
    assert scores.shape == (4,)
    assert torch.allclose(own, whole[active], atol=1e-6)
    assert torch.allclose(scores.sum(), nt_xent_rows(finished, 0.5).sum(), rtol=1e-5)


def passes(actions, approach):
    model = network()
    stem = model.encoder.trunk.stem
    return count_passes(lambda: attack_by_actions(model, views(), actions, draw(), approach), [stem], 1)


def test_passes_are_those_by_hand_and_fewer_than_masked():
    actions = mixed_actions()  # 1, 1, 2, 2, 4, 4, 1, 1 iterations
    shrunk, masked = passes(actions, Approach()), passes(actions, MASKED)
    assert shrunk["attack forward"] == 16 + 6  # six views leave before the last and are embedded once more
    assert shrunk["attack backward"] == 16
    assert masked["attack forward"] == masked["attack backward"] == 8 * 4
    assert passes_saved(actions.steps) == 64 / 38


def test_one_count_for_all_saves_nothing():
    actions = Actions(torch.tensor([[1, 2, 0]] * 8), RANGES)
    assert passes_saved(actions.steps) == 1
    assert passes(actions, Approach()) == passes(actions, MASKED)
