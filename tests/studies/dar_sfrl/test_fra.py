import math

import pytest
import torch

from lib.seeds import seeded
from lib.studies.dar_sfrl.fra import FRA, RegionAgreement, agreement, cluster_loss, sinkhorn
from lib.training.loop import Recipe, fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=8):
    return torch.rand(n, 3, 16, 16, generator=generator(2))


def small(**changes):
    with seeded(0):
        return FRA(**{"width": 4, "masks": 3, "hidden": 16, "dim": 8, "steps": 10} | changes)


def test_sinkhorn_balances_the_masks():
    shares = torch.rand(60, 3, generator=generator()) + torch.tensor([3.0, 0.0, 0.0])
    found = sinkhorn(shares, rounds=50)
    assert torch.allclose(found.sum(1), torch.ones(60), atol=1e-5)
    assert torch.allclose(found.sum(0), torch.full((3,), 20.0), atol=0.01)
    assert (sinkhorn(shares, rounds=3).sum(0) - 20).abs().max() < (shares / shares.sum(1, keepdim=True)).sum(
        0
    ).max() - 20


def test_agreement_of_known_directions():
    one = torch.tensor([[1.0, 0.0], [2.0, 0.0]])
    assert agreement(one, 3 * one).item() == pytest.approx(0)
    assert agreement(one, -one).item() == pytest.approx(4)


def test_clusters_that_collapse_pay_the_logarithm_of_their_number():
    dots = torch.zeros(2, 6, 3)
    even = cluster_loss(dots, dots)
    assert even.item() == pytest.approx(math.log(3), abs=1e-5)  # even assignments: cross-entropy ln 3, no price
    collapsed = dots.clone()
    collapsed[:, :, 0] = 1.0
    assert cluster_loss(collapsed, dots).item() > even.item() + 1


def test_the_target_follows_ever_more_slowly():
    model = small(start=0.5)
    slow, fast = next(model.target.parameters()), next(model.student.parameters())
    with torch.no_grad():
        fast += 1
    before = slow.clone()
    model.follow()
    assert torch.allclose(slow, (before + fast) / 2, atol=1e-6)
    momenta = []
    for _ in range(10):
        momenta.append(model.momentum)
        model.follow()
    assert momenta == sorted(momenta)
    assert model.momentum == 1


def test_the_masks_share_out_each_place_and_training_runs():
    model = small()
    seen = model.student.see(faces())
    assert seen.whole.shape == (8, 8)
    assert seen.regions.shape == (8, 3, 8)
    assert seen.dots.shape == (8, 16, 3)
    assert seen.dots.abs().max() <= 1 + 1e-5
    history = fit(model, RegionAgreement(faces()), 8, Recipe(steps=4, batch=8))
    assert set(history) == {"loss", "global", "regions", "clusters"}
    parts = 0.5 * history["global"] + 0.5 * history["regions"] + 0.1 * history["clusters"]
    assert torch.allclose(parts, history["loss"], atol=1e-5)
    assert model.trunk(faces()).shape == (8, 16)
    assert not any(weight.requires_grad for weight in model.target.parameters())
