import torch

from lib.studies.robust_ssl.networks import Encoder, SupervisedNetwork, network
from tests.studies.robust_ssl.small import SIZES


def test_an_encoder_normalises_pixels_itself():
    encoder = Encoder(2).eval()
    x = torch.rand(3, 3, 32, 32)
    assert torch.allclose(encoder(x), encoder.trunk((x - 0.5) / 0.25))
    assert encoder(x).shape == (3, encoder.dim)


def test_prototypes_and_predictor_are_there_when_asked():
    plain, full = network(SIZES, 0, False), network(SIZES, 3, True)
    x = torch.rand(4, 3, 16, 16)
    assert plain.prototypes.numel() == 0
    assert not plain.prototypes.requires_grad
    assert full.predictor.layers[0].out_features == 3
    assert torch.equal(plain.encoder.trunk.stem[0].weight, full.encoder.trunk.stem[0].weight)
    cosines = full.eval().cosines(x)
    assert cosines.shape == (4, 5)
    assert cosines.abs().max() <= 1 + 1e-6
    full.prototypes.data.mul_(3)
    assert torch.allclose(full.cosines(x), cosines, atol=1e-6)
    assert torch.allclose(full.unit(x).norm(dim=1), torch.ones(4), atol=1e-6)
    assert SupervisedNetwork(SIZES, 7)(x).shape == (4, 7)
