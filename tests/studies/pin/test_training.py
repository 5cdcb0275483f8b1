"""PIN's training, small: material, autoencoder, agents; the same networks again from their kept form."""

import pytest
import torch

from lib.data.procedural_faces.dataset import load_procedural
from lib.defences import Basis, fit_pca
from lib.studies.pin.training import (
    AgentPlan,
    Shares,
    agent_from,
    denoiser_from,
    gray_bytes,
    material,
    train_agent,
    train_denoiser,
)
from lib.training.loop import Recipe
from tests.studies.pin.small import Run


@pytest.fixture(scope="module")
def part():
    faces = load_procedural(people=30, per_person=10)
    return faces, material(Run(), faces, torch.arange(len(faces)), Shares(4, 100, 30, -1, 20))


def test_fewer_faces_to_learn_from_are_a_share_of_all(part):
    faces, every = part
    fewer = material(Run(), faces, torch.arange(len(faces)), Shares(4, 100, 30, 50, 20))
    assert len(fewer.learn) == 50 < len(every.learn)
    assert torch.isin(fewer.learn_index, every.learn_index).all()
    assert torch.equal(fewer.held_index, every.held_index)


def test_material_shares_no_person(part):
    faces, found = part
    groups = [set(faces.labels[i].tolist()) for i in (found.learn_index, found.held_index)] + [
        set(found.gallery.tolist())
    ]
    assert not groups[0] & groups[1]
    assert not groups[0] & groups[2]
    assert not groups[1] & groups[2]
    assert len(found.gallery) == 4
    assert torch.equal(found.learn, gray_bytes(faces, found.learn_index))
    assert found.basis.deviation() < 1e-5


def test_agents_come_back_as_they_were_trained(part):
    _, found = part
    recipe = Recipe(3, batch=4, check_every=3)
    trained = train_denoiser(found.learn[:8], found.held_out[:4], 2, recipe, "cpu")
    denoiser = denoiser_from(trained, 2).requires_grad_(False)
    x = found.held_out[:2].float() / 255
    for kind in ("image", "coefficients"):
        plan = AgentPlan(recipe, width=2, hidden=8, draws=4, kind=kind)
        before = denoiser if kind == "image" else None
        result = train_agent(found.learn[:8], found.held_out[:4], found.basis, before, plan)
        again = agent_from(result, found.basis, before, plan)
        assert not any(name.startswith(("denoiser", "vectors", "mean")) for name in result["weights"])
        assert all(torch.equal(again.state_dict()[name], value) for name, value in result["weights"].items())
        assert again(x).shape == (2, 20)
        assert not any(weight.requires_grad for weight in again.parameters())


def test_an_agent_on_coefficients_learns_to_keep_what_pays():
    torch.manual_seed(0)
    faces = torch.rand(60, 1, 16, 16)
    basis = Basis(**fit_pca(faces, 12))
    plan = AgentPlan(
        Recipe(150, batch=20, rate=0.05, check_every=50), penalty=0.05, baseline="leave-one-out", kind="coefficients"
    )
    history = train_agent(faces, faces[:20], basis, None, plan)["history"]
    assert history["reward"][-20:].mean() > history["reward"][:5].mean()
    assert history["held_out"][-1] <= history["held_out"][0]
