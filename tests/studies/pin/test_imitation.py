"""Telling the agent the oracle's masks."""

import torch

from lib.defences import Basis, fit_pca
from lib.studies.pin.imitation import Imitation, held_out_bits, train_imitator
from lib.studies.pin.networks import CoefficientAgent
from lib.studies.pin.reinforce import noisy_choices
from lib.studies.pin.selection import oracle_mask
from lib.studies.pin.training import AgentPlan
from lib.training.loop import Recipe


def test_the_loss_is_the_cross_entropy_in_bits_by_hand():
    torch.manual_seed(0)
    faces = torch.rand(30, 1, 16, 16)
    basis = Basis(**fit_pca(faces, 6))
    model, loss = CoefficientAgent(basis), Imitation(faces, basis, 0.05)
    index = torch.tensor([3, 7])
    found = noisy_choices(faces[index], basis, 0.04, torch.Generator().manual_seed(5))
    p, q = model(found.noisy).double().sigmoid(), oracle_mask(found.weights, found.energy, 0.05)
    by_hand = -(q * p.log2() + (1 - q) * (1 - p).log2()).sum(1).mean()
    value = loss(model, index, torch.Generator().manual_seed(5))["loss"]
    assert torch.allclose(value.double(), by_hand, rtol=1e-4)
    assert held_out_bits(loss, model) == held_out_bits(loss, model)


def test_an_imitator_comes_closer_to_the_oracle():
    torch.manual_seed(0)
    faces = torch.rand(20, 1, 32, 32)
    basis = Basis(**fit_pca(faces, 6))
    recipe = Recipe(12, batch=10, rate=3e-3, check_every=4)
    history = train_imitator(faces, faces[:10], basis, AgentPlan(recipe, 2, 8, 0.5))["history"]
    assert history["loss"][-1] < history["loss"][0]
