import pytest
import torch

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.facecycle import (
    MARGIN,
    WEIGHTS,
    FaceCycle,
    FaceIdentity,
    IdentityCycle,
    MotionCycle,
    backward_flow,
    identity_margin,
    train_facecycle,
    warp,
)
from lib.training.loop import Recipe, fit


def faces(n=8):
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def test_warping_by_a_constant_flow_is_a_shift():
    x = faces(1)
    flow = torch.zeros(1, 2, 16, 16)
    assert torch.allclose(warp(x, flow), x, atol=1e-6)
    flow[:, 0] = 2 / 16  # one pixel: half sides
    assert torch.allclose(warp(x, flow)[..., :-1], x[..., 1:], atol=1e-5)


def test_the_backward_flow_undoes_a_small_flow():
    row = torch.linspace(-1, 1, 16)
    smooth = 0.1 * torch.stack([torch.sin(row)[:, None].expand(16, 16), torch.cos(row).expand(16, 16)])[None]
    picture = torch.stack([row.expand(16, 16), row[:, None].expand(16, 16), row.expand(16, 16)])[None]
    there = warp(picture, smooth)
    again = warp(there, backward_flow(smooth))
    inner = (slice(None), slice(None), slice(4, 12), slice(4, 12))
    assert (again - picture)[inner].abs().max() < 0.25 * (there - picture)[inner].abs().max()


def test_partners_are_other_pictures_of_the_same_person():
    people = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    loss = MotionCycle(faces(), people)
    for seed in range(10):
        drawn = loss.partners(torch.arange(8), torch.Generator().manual_seed(seed))
        assert torch.equal(people[drawn], people)
        assert (drawn != torch.arange(8)).all()
    with pytest.raises(WorkbookError, match="two pictures"):
        MotionCycle(faces(), torch.tensor([0, 0, 0, 1, 1, 2, 2, 3]))


def test_training_lowers_the_cycle_and_leaves_the_frozen_features():
    pytest.importorskip("torchmetrics")
    with seeded(0):
        model = FaceCycle(16, 4, 8, 1, 8)
    before = model.frozen[0].weight.clone()
    history = fit(model, MotionCycle(faces(), torch.arange(8) // 2), 8, Recipe(steps=12, batch=8, rate=3e-3))
    assert set(history) == {"loss", *WEIGHTS}
    assert history["plain"][-1] < history["plain"][0]
    assert torch.equal(model.frozen[0].weight, before)
    parts = sum(weight * history[name] for name, weight in WEIGHTS.items())
    assert torch.allclose(parts, history["loss"], atol=1e-4)


def test_the_identity_stage_learns_and_leaves_the_motion_part(tmp_path):
    with seeded(0):
        motion = FaceCycle(16, 4, 8, 1, 8)
        model = FaceIdentity(motion, 16, 8, 8)
    before = {name: value.clone() for name, value in motion.state_dict().items()}
    trunk = model.trunk.body[0].weight.clone()
    loss = IdentityCycle(faces(), torch.arange(8) // 2)
    history = fit(model, loss, 8, Recipe(steps=30, batch=8, rate=3e-3), folder=tmp_path)
    assert set(history) == {"loss", "average", "identity", "swapped", "margin"}
    assert history["average"][-1] < history["average"][0]
    assert history["identity"][-1] < history["identity"][0]
    assert not torch.equal(model.trunk.body[0].weight, trunk)
    assert all(torch.equal(value, before[name]) for name, value in motion.state_dict().items())


def test_the_margin_by_hand():
    apart = torch.eye(2)
    people = torch.tensor([0, 1])
    assert identity_margin(torch.cat([apart, apart]), people) == 0
    assert identity_margin(torch.cat([apart, apart.flip(0)]), people).item() == pytest.approx(1 + MARGIN)
    assert identity_margin(torch.cat([apart, apart.flip(0)]), torch.tensor([3, 3])) == 0


def test_both_stages_are_one_training():
    pytest.importorskip("torchmetrics")
    with seeded(0):
        model = FaceCycle(16, 4, 8, 1, 8)
    plan = Recipe(steps=2, batch=8, rate=1e-3)
    found = train_facecycle(MotionCycle(faces(), torch.arange(8) // 2), model, plan, plan)
    assert found["weights"].keys() == found["identity"].keys()
    assert not torch.equal(found["weights"]["body.0.weight"], found["identity"]["body.0.weight"])
    assert torch.equal(found["weights"]["body.0.weight"], model.trunk.body[0].weight)
    assert {"cycle", "swapped"} <= set(found["history"]) | set(found["identity history"])
