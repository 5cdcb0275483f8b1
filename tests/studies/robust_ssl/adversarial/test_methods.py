"""Each method's loss: what it compares, what it attacks, what learns from it."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows
from lib.models.dual_norm import route
from lib.studies.robust_ssl.adversarial.advcl import pseudo_labels
from lib.studies.robust_ssl.adversarial.dynacl import annealed
from lib.studies.robust_ssl.adversarial.methods import Aids
from lib.studies.robust_ssl.adversarial.strength import Strength, attack_views
from lib.studies.robust_ssl.adversarial.training import SELF_AT
from lib.training.adversarial_contrast import AdversarialContrast
from lib.transforms.views import ACL as ACL_VIEWS
from tests.studies.robust_ssl.adversarial.small import SIZES, pictures, plan, prepared, stepped


@pytest.mark.parametrize("method", SELF_AT)
def test_a_step_gives_a_finite_loss_that_moves_the_encoder(method):
    found, model, _ = stepped(method)
    assert found["loss"].isfinite()
    grown = [weight.grad for weight in model.encoder.trunk.stem.parameters() if weight.grad is not None]
    assert any(gradient.abs().sum() > 0 for gradient in grown)


@pytest.mark.parametrize("method", SELF_AT)
def test_the_same_numbers_give_the_same_loss(method):
    losses = [stepped(method, seed)[0]["loss"].item() for seed in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_acl_is_the_cores_dual_stream():
    model, loss = prepared("ACL")
    core = AdversarialContrast(pictures(), ACL_VIEWS, None, "dual", "8/255", "4/255", 1, 0.5)
    values = [
        each(copy.deepcopy(model), torch.arange(8), torch.Generator().manual_seed(0))["loss"] for each in (loss, core)
    ]
    assert torch.allclose(*values, rtol=1e-4)


def test_the_attack_stays_in_its_box_and_raises_the_contrast():
    model, _ = prepared("ACL")
    views = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    strength = Strength("8/255", "2/255", 10)
    moved = attack_views(model, views, strength, torch.Generator().manual_seed(0))
    assert (moved - views).abs().max() <= 8 / 255 + 1e-6
    model.eval()
    with torch.no_grad(), route(model, "adversarial"):
        before, after = (nt_xent_rows(model.embed(x), 0.5).mean() for x in (views, moved))
    assert after > before


def test_each_view_may_have_a_strength_of_its_own():
    model, _ = prepared("ACL")
    views = torch.full((4, 3, 16, 16), 0.5) + 0.1 * torch.rand(4, 3, 16, 16)
    eps = torch.tensor([0.0, 0.01, 0.02, 0.03])
    strength = Strength(eps, torch.full((4,), 0.02), torch.tensor([1, 2, 1, 3]))
    moved = attack_views(model, views, strength, torch.Generator().manual_seed(0))
    assert ((moved - views).abs().amax((1, 2, 3)) <= eps + 1e-6).all()


def test_simclr_leaves_no_trace_of_an_attack():
    found, _, _ = stepped("SimCLR")
    assert set(found) == {"loss", "alignment", "uniformity"}


def test_rocl_adds_little_of_the_attacked_view():
    model, loss = prepared("RoCL", weight=0.0)
    plain = loss(model, torch.arange(8), torch.Generator().manual_seed(0))["loss"].item()
    model, loss = prepared("RoCL", weight=1.0)
    whole = loss(model, torch.arange(8), torch.Generator().manual_seed(0))["loss"].item()
    assert whole > plain + 1


def test_advcl_needs_pseudo_labels_and_learns_its_heads():
    _, _, loss = stepped("AdvCL")
    assert [head.out_features for head in loss.heads] == [2, 3]
    assert all(head.weight.grad.abs().sum() > 0 for head in loss.heads)
    model = plan("AdvCL").model()
    with pytest.raises(WorkbookError, match="cluster them"):
        replace(plan("AdvCL"), aids=Aids()).loss(pictures(), model)


def test_advcls_scale_is_that_of_its_contrast():
    found = [stepped("AdvCL", scale=scale)[0] for scale in (1.0, 2.0)]
    assert torch.allclose(2 * found[0]["contrast"], found[1]["contrast"], rtol=1e-4)


def test_clusters_of_two_heaps_are_the_heaps():
    draw = torch.Generator().manual_seed(0)
    heaps = torch.cat([torch.eye(4)[:1].expand(20, 4), torch.eye(4)[1:2].expand(20, 4)])
    found = pseudo_labels(heaps + 0.05 * torch.randn(40, 4, generator=draw), (2, 4))
    assert found.shape == (40, 2)
    assert len(found[:20, 0].unique()) == len(found[20:, 0].unique()) == 1
    assert found[0, 0] != found[20, 0]
    with pytest.raises(WorkbookError, match="ask for fewer"):
        pseudo_labels(heaps, (41,))


def test_deacl_follows_its_teacher_and_needs_one():
    found, _, loss = stepped("DeACL")
    assert torch.allclose(found["loss"], -found["agreement"] - 2 * found["stability"], atol=1e-6)
    assert not any(weight.requires_grad for weight in loss.teacher.parameters())
    model = plan("DeACL").model()
    with pytest.raises(WorkbookError, match="teacher"):
        replace(plan("DeACL"), aids=Aids()).loss(pictures(), model)


def test_deacl_with_its_teachers_weights_and_no_attack_has_the_least_loss():
    made = replace(plan("DeACL"), options=SELF_AT["DeACL"].Options(strength=Strength(0.0, 0.0, 1)))
    model = made.model()
    made.aids.teacher.load_state_dict(model.encoder.state_dict())
    loss = made.loss(pictures(), model)
    for part in (model, loss):
        part.eval()
    found = loss(model, torch.arange(8), torch.Generator().manual_seed(0))
    assert found["loss"].item() == pytest.approx(-3, abs=1e-4)


def test_views_fade():
    assert annealed(ACL_VIEWS, 1.0) == ACL_VIEWS
    weak = annealed(ACL_VIEWS, 0.0)
    assert (weak.crop, weak.jitter, weak.gray) == ((1.0, 1.0), (0, 0, 0, 0), 0)
    with pytest.raises(WorkbookError, match="between 0 and 1"):
        annealed(ACL_VIEWS, 1.1)


def test_dynacls_strength_falls_by_plateaus_while_the_weight_rises():
    _, loss = prepared("DynACL")
    seen = []
    for done in (0.0, 0.049, 0.05, 0.999):
        loss.done = done
        seen.append((round(1 - loss.passed, 6), round(loss.weights()[1], 6)))
    assert seen == [
        (1.0, 0.5),
        (1.0, 0.5),
        (0.95, round((1 + 0.05 * 2 / 3) / 2, 6)),
        (0.05, round((1 + 0.95 * 2 / 3) / 2, 6)),
    ]


def test_dynacls_slow_copy_follows_and_embeds_the_second_views():
    model, loss = prepared("DynACL", momentum=0.5)
    before = loss.slow.model.encoder.trunk.stem[0].weight.clone()
    with torch.no_grad():
        model.encoder.trunk.stem[0].weight.add_(1)
    loss.update(model, {})
    assert torch.allclose(loss.slow.model.encoder.trunk.stem[0].weight, before + 0.5, atol=1e-6)
    rows = loss.embedded(model, torch.rand(6, 3, 16, 16), "clean")
    assert rows.shape == (6, SIZES.dim)
    (gradient,) = torch.autograd.grad(rows[3:].sum() + 0 * rows.sum(), model.encoder.trunk.stem[0].weight)
    assert gradient.abs().sum() == 0
    with pytest.raises(WorkbookError, match="climbs the network"):
        plan("DynACL", attacked="both")


def test_a_fixed_strength_stays():
    _, loss = prepared("DynACL", fixed=0.0)
    x = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    view = loss.view(x, torch.Generator().manual_seed(0))
    flipped = (view - x.flip(3)).abs().amax((1, 2, 3)) < 1e-4
    same = (view - x).abs().amax((1, 2, 3)) < 1e-4
    assert (flipped | same).all()
    assert F.mse_loss(view.mean((1, 2, 3)), x.mean((1, 2, 3))) < 1e-6
