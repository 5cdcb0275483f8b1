import pytest
import torch
from torch import nn

from lib.attacks import DFANET, MIFGSM, Linf, ascend, feature_distance, frozen, with_dropout
from lib.errors import WorkbookError
from lib.models import GrayInput, quick
from lib.models.mobilefacenet import MobileFaceNet
from lib.models.small import SmallRecogniser

FACES = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
MAKERS = {
    "small": lambda: SmallRecogniser(dim=16, width=8).eval(),
    "small, folded": lambda: quick(SmallRecogniser(dim=16, width=8)),
    "MobileFaceNet, folded": lambda: quick(MobileFaceNet()),
    "a traced graph": lambda: torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 9, 8), nn.ReLU(), nn.Flatten())),
}


@pytest.fixture(params=list(MAKERS))
def model(request):
    torch.manual_seed(0)
    return MAKERS[request.param]().eval()


def convolutions(model):
    return sum(isinstance(module, nn.Conv2d) for module in model.modules())


@torch.no_grad()
def test_equal_without_dropout_and_different_with_it(model):
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    surrogate = with_dropout(model)
    assert sum(isinstance(module, nn.Dropout) for module in surrogate.modules()) == convolutions(model) > 0
    assert not surrogate.training
    torch.testing.assert_close(surrogate(FACES), model(FACES), rtol=0, atol=0)
    with frozen(surrogate, dropout=True):
        assert not torch.allclose(surrogate(FACES), surrogate(FACES))
    torch.testing.assert_close(surrogate(FACES), model(FACES), rtol=0, atol=0)
    assert model.state_dict().keys() == before.keys()
    for weight in surrogate.parameters():
        weight.add_(1)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@torch.no_grad()
def test_a_tenth_of_the_elements_falls_out():
    surrogate = with_dropout(nn.Sequential(nn.Conv2d(3, 8, 3)), rate=0.1)
    surrogate[0][0].bias.fill_(10)
    with frozen(surrogate, dropout=True):
        out, full = surrogate(FACES), surrogate[0][0](FACES)
    assert abs((out == 0).float().mean() - 0.1) < 0.005
    torch.testing.assert_close(out[out != 0], full[out != 0] / 0.9)


def test_the_attack_switches_dropout_on():
    torch.manual_seed(0)
    surrogate = with_dropout(GrayInput(quick(SmallRecogniser(dim=16, width=8))))
    x, other = FACES[:, :1], FACES[:, 1:2]
    objective, budget, runs = feature_distance(surrogate, other), Linf("8/255"), {}
    for settings in (MIFGSM, DFANET):
        for seed in range(2):
            torch.manual_seed(seed)
            runs[settings.dropout, seed] = ascend(objective, x, budget, settings.but(steps=3))
    assert torch.equal(runs[False, 0], runs[False, 1])
    assert not torch.equal(runs[True, 0], runs[True, 1])
    with torch.no_grad():
        assert (objective(runs[True, 0]) > objective(x)).all()


def test_misuse_is_told():
    with pytest.raises(WorkbookError, match="no Conv2d"):
        with_dropout(nn.Linear(2, 2))
    with pytest.raises(WorkbookError, match="rate"):
        with_dropout(SmallRecogniser(), rate=1.0)
