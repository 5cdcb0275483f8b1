import pytest
import torch

from lib.attacks import PGD, Linf, ascend, cross_entropy, dodging, frozen
from tests.attacks.small import SmallNet, pictures


def mixed():
    """A model partly in training and partly frozen."""
    model = SmallNet().train()
    model.body[1].eval()
    model.body[0].weight.requires_grad_(False)
    return model


def flags(model):
    return [module.training for module in model.modules()], [weight.requires_grad for weight in model.parameters()]


@pytest.mark.parametrize("dropout", [False, True])
def test_flags_come_back_one_by_one(dropout):
    model = mixed()
    before = flags(model)
    with frozen(model, model, dropout=dropout):
        modes, gradients = flags(model)
        assert sum(modes) == dropout
        assert not any(gradients)
    assert flags(model) == before


def test_flags_come_back_after_an_exception():
    model = mixed()
    before = flags(model)

    def fail(*_):
        raise RuntimeError("out of memory")

    model.body[-1].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        ascend(cross_entropy(model, torch.zeros(12)), pictures(), Linf("8/255"), PGD)
    with pytest.raises(RuntimeError, match="out of memory"):
        dodging(model, pictures())
    assert flags(model) == before


def test_batch_statistics_and_gradients_are_left_alone():
    model = mixed()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 3.0)
    mean = model.body[1].running_mean.clone()
    ascend(cross_entropy(model, torch.zeros(12)), pictures(), Linf("8/255"), PGD)
    assert torch.equal(model.body[1].running_mean, mean)
    assert all((weight.grad == 3).all() for weight in model.parameters())


def test_dropout_can_stay_active():
    model, x = SmallNet(), pictures()
    objective = cross_entropy(model, torch.zeros(12))
    settings = PGD.but(start="clean", steps=2)
    runs = []
    for dropout in (False, True):
        for seed in range(2):
            torch.manual_seed(seed)
            runs.append(ascend(objective, x, Linf("8/255"), settings.but(dropout=dropout)))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[2], runs[3])
