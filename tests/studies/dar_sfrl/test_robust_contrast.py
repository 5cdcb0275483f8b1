import pytest
import torch
from torch import nn

from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d, route
from lib.seeds import seeded
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.studies.dar_sfrl.robust_contrast import ROBUST, NormedTrunk, RobustContrasted, robust_contrast, robust_trunk
from lib.training.loop import Recipe, fit

FACES = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def contrasted(name):
    with seeded(0):
        return RobustContrasted(name, 16, 4, 8, 6)


def test_each_plain_convolution_is_normalised():
    normed, plain = NormedTrunk(4), FaceTrunk(4)
    convolutions = sum(isinstance(part, nn.Conv2d) for part in plain.body)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in normed.body) == convolutions
    assert normed(FACES).shape == plain(FACES).shape
    kinds = [type(part) for part in contrasted("ACL").modules()]
    assert kinds.count(DualBatchNorm2d) == convolutions
    assert kinds.count(DualBatchNorm1d) == 3


@pytest.mark.parametrize("name", ROBUST)
def test_training_lowers_the_loss_and_its_trunk_is_loaded(name, tmp_path):
    model, loss = contrasted(name), robust_contrast(name, FACES, 2)
    history = fit(model, loss, 12, Recipe(steps=60, batch=12, rate=3e-3), folder=tmp_path)
    assert history["loss"][-20:].mean() < history["loss"][:20].mean()
    trunk = robust_trunk(name, 4)
    trunk.load_state_dict(model.trunk.state_dict())
    with route(model, "adversarial" if name == "ACL" else "clean"):
        assert torch.equal(trunk.eval()(FACES), model.trunk(FACES))


def test_acl_is_probed_on_its_adversarial_route():
    model = contrasted("ACL").eval()
    trunk = robust_trunk("ACL", 4).eval()
    trunk.load_state_dict(model.trunk.state_dict())
    before = trunk(FACES)
    for part in trunk.modules():
        if isinstance(part, DualBatchNorm2d):
            nn.init.constant_(part.clean.weight, 3.0)
    assert torch.equal(trunk(FACES), before)
    for part in trunk.modules():
        if isinstance(part, DualBatchNorm2d):
            nn.init.constant_(part.adversarial.weight, 3.0)
    assert not torch.allclose(trunk(FACES), before)


def test_the_sources_settings():
    rocl, acl = (robust_contrast(name, FACES, 7) for name in ROBUST)
    assert (rocl.step, rocl.eps, rocl.temperature) == (0.007, "8/255", 0.5)
    assert (acl.step, acl.variant, acl.temperature) == ("2/255", "dual", 0.5)
