import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.encoders import Branched, FaceTrunk, PositionAttention
from lib.studies.dar_sfrl.losses import difference
from lib.studies.dar_sfrl.networks import count_multiply_adds, count_weights
from lib.studies.dar_sfrl.pcl import NOISE, PCL, Decoder, Disentangled
from lib.training.loop import Recipe, fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=8, side=16):
    return torch.rand(n, 3, side, side, generator=generator(4))


def tiny(epoch=2):
    with seeded(0):
        return PCL(side=16, width=4, hidden=8, dim=6, shrink=32, epoch=epoch)


def test_sizes_are_the_published_ones():
    model = PCL()
    branches = count_weights(model.face) + count_weights(model.pose)
    assert count_weights(model.trunk) + branches == 2_469_760
    assert round(count_weights(model.decoder) / 1e6, 2) == 4.30
    assert round(count_weights(model.face_head) / 1e6, 2) == 5.25
    assert round(count_weights(model) / 1e6, 1) == 17.3
    branched = count_multiply_adds(Branched(model.trunk, model.face), 64)
    trunk = count_multiply_adds(model.trunk, 64)
    products = 2 * 64 * 64 * 32**2 + 2 * 128 * 128 * 16**2  # of both attentions, beside the convolutions' 393 million
    assert round((2 * branched - trunk - products) / 1e6) == 393
    assert model.trunk(torch.rand(1, 3, 64, 64)).shape == (1, 2048)
    assert model.decoder(torch.rand(2, 2048)).shape == (2, 3, 64, 64)


def test_attention_is_the_formula():
    with seeded(0):
        layer, x = PositionAttention(3), torch.rand(1, 3, 4, 4)
    g, theta, phi = (part(x)[0].flatten(1) for part in (layer.g, layer.theta, layer.phi))
    similarity = phi @ F.softmax(theta, dim=1).T
    expected = F.leaky_relu(x[0] + (similarity @ F.softmax(g, dim=0)).view(3, 4, 4), 0.1)
    assert torch.allclose(layer(x)[0], expected, atol=1e-6)


def test_reconstruction_takes_the_pose_of_its_target():
    model, x = tiny().eval(), faces(3)
    found = Disentangled(x).reconstruction(model, x, generator())
    noise = torch.randn(2, *x.shape, generator=generator())
    (face_s, pose_s), (face_f, pose_f) = model(x + NOISE * noise[0]), model(x.flip(3) + NOISE * noise[1])

    def error(face, pose, target):
        return (model.decoder(F.normalize(face + pose, dim=1)) - target).abs().mean()

    expected = error(face_s, pose_s, x) + error(face_f, pose_s, x)
    expected += error(face_s, pose_f, x.flip(3)) + error(face_f, pose_f, x.flip(3))
    assert found["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-5)
    apart = difference(face_s, pose_s) + difference(face_f, pose_f)
    assert found["difference"].item() == pytest.approx(apart.item(), rel=1e-4)


def test_three_steps_are_taken_in_turn_and_their_sum_is_the_whole():
    model = tiny().train()
    loss = Disentangled(faces(), pose_negatives=3)
    parts = [set(loss(model, torch.arange(6), generator())) - {"loss"} for _ in range(3)]
    assert parts == [{"reconstruction", "difference"}, {"face"}, {"pose"}]
    whole = Disentangled(faces(), pose_negatives=3, alternating=False)(model, torch.arange(6), generator())
    assert whole["loss"].item() == pytest.approx(sum(value.item() for name, value in whole.items() if name != "loss"))


def test_training_runs_and_lowers_the_reconstruction_error():
    model = tiny()
    history = fit(model, Disentangled(faces(), pose_negatives=3), 8, Recipe(steps=45, batch=8, rate=1e-2))
    assert len(history["reconstruction"]) == 15
    assert history["reconstruction"][-3:].mean() < history["reconstruction"][:3].mean()


def test_sides_that_cannot_be_halved_are_told():
    with pytest.raises(WorkbookError, match="multiple of 16"):
        FaceTrunk(4).features_at(40)
    assert Decoder(8, side=32, shrink=32)(torch.rand(2, 8)).shape == (2, 3, 32, 32)
