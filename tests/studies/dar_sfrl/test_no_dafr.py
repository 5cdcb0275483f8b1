import pytest
import torch

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.no_dafr import FacePart, NoiseOrthogonal, Split
from lib.training.loop import Recipe, fit

FACES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def split():
    with seeded(0):
        return Split(16, 4, 8, 6, epoch=1)


def test_training_moves_both_parts_and_weighs_the_contrasts(tmp_path):
    model = split()
    before = [part.weight.clone() for part in (model.face, model.noise)]
    history = fit(model, NoiseOrthogonal(FACES), 12, Recipe(steps=30, batch=12, rate=3e-3), folder=tmp_path)
    assert set(history) == {"loss", "orthogonal", "face", "noise"}
    assert history["loss"][-5:].mean() < history["loss"][:5].mean()
    assert all(not torch.equal(old, part.weight) for old, part in zip(before, (model.face, model.noise), strict=True))
    assert not torch.equal(model.weights.weights, torch.ones(2))


def test_the_first_step_sums_its_parts():
    found = NoiseOrthogonal(FACES)(split(), torch.arange(8), torch.Generator().manual_seed(0))
    torch.testing.assert_close(found["loss"].detach(), found["orthogonal"] + found["face"] + found["noise"])
    assert 0 <= found["orthogonal"] <= 1


def test_the_baseline_is_the_face_contrast_of_the_same_network():
    model = split()
    found = NoiseOrthogonal(FACES, ("face",))(model, torch.arange(8), torch.Generator().manual_seed(0))
    assert set(found) == {"loss", "face"}
    found["loss"].backward()
    assert model.noise.weight.grad is None or not model.noise.weight.grad.any()
    assert model.face.weight.grad.any()
    assert torch.equal(model.weights.weights, torch.ones(2))  # nothing to weigh against


def test_an_unknown_loss_is_told():
    with pytest.raises(WorkbookError, match="The losses of NOCL are"):
        NoiseOrthogonal(FACES, ("mae",))


def test_the_face_part_is_what_was_trained():
    model = split()
    part = FacePart(16, 4)
    part.trunk.load_state_dict(model.trunk.state_dict())
    part.face.load_state_dict(model.face.state_dict())
    assert torch.equal(part(FACES), model.face(model.trunk(FACES)))
