import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.purification import (
    DiffPure,
    Diffusion,
    NoisePrediction,
    Purified,
    draws_right,
    signal_share,
    sweep_times,
    train_diffusion,
)
from lib.training.loop import Recipe


class Told(nn.Module):
    """A network that tells the noise which its `answer` says, as diffusers gives it."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.weight = answer, nn.Parameter(torch.zeros(1))

    def forward(self, x, time):
        return type("Output", (), {"sample": self.answer(x, time) + 0 * self.weight})


def knowing(clean):
    """The network that knows the clean picture, and so the noise, exactly."""
    share = signal_share()

    def answer(x, time):
        part = share[torch.as_tensor(time)].view(-1, 1, 1, 1)
        return (x - part.sqrt() * (2 * clean - 1)) / (1 - part).sqrt()

    return Told(answer)


def faces(n=3):
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_network_that_knows_the_noise_gives_the_clean_picture_back():
    x = faces()
    for steps in (1, 5):
        with seeded(0):
            assert torch.allclose(DiffPure(knowing(x), 50, steps, 8)(x), x, atol=1e-4)


def test_the_times_are_evenly_spaced_from_the_start():
    assert DiffPure(knowing(faces()), 50, 5, 8).times == [50, 40, 30, 20, 10]
    with pytest.raises(WorkbookError, match="steps <= time"):
        DiffPure(knowing(faces()), 5, 10, 8)


def test_a_step_is_that_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(beta_start=1e-4, beta_end=2e-2, clip_sample=False)
    scheduler.set_timesteps(timesteps=[40, 30, 20, 10, 0])
    told, state = 0.3 * torch.randn(3, 3, 8, 8), torch.randn(3, 3, 8, 8)
    network = Told(lambda x, time: told)
    with seeded(7):
        theirs = scheduler.step(told, torch.tensor(40), state).prev_sample
    with seeded(7):
        ours = DiffPure(network, 40, 5, 8).back(state, 40, 30)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_gradients_pass_the_whole_sampler():
    leaf = faces().requires_grad_()
    pure = DiffPure(Told(lambda x, time: 0.1 * x), 50, 5, 8)
    pure(leaf).sum().backward()
    assert (leaf.grad.abs() > 0).float().mean() > 0.5


def test_larger_pictures_are_purified_small():
    x = torch.rand(2, 3, 16, 16)
    assert DiffPure(Told(lambda x, time: 0 * x), 10, 2, 8)(x).shape == x.shape


def test_the_loss_of_a_perfect_network_is_zero():
    x = faces()
    assert NoisePrediction(x)(knowing(x), torch.arange(3), torch.Generator().manual_seed(0))["loss"] < 1e-6
    lazy = Told(lambda x, time: 0 * x)
    found = NoisePrediction(x)(lazy, torch.arange(3), torch.Generator().manual_seed(0))["loss"]
    assert found.item() == pytest.approx(1, abs=0.15)


def test_draws_and_the_sweep():
    x, labels = faces(6), torch.tensor([0, 1, 0, 1, 0, 1])

    class Bright(nn.Module):
        def forward(self, x):
            return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1) * 10

    model = Purified(DiffPure(knowing(x), 50, 2, 8), Bright())
    right = draws_right(model, x, labels, draws=3)
    assert right.shape == (3, 6)
    assert torch.equal(right[0], Bright()(x).argmax(1) == labels)
    found = sweep_times(knowing(x), Bright(), x, labels, (10, 50), steps=2)
    assert found[10] == found[50] == pytest.approx(right.double().mean().item())


def test_a_small_diffusion_model_learns():
    pytest.importorskip("diffusers")
    small = Diffusion(side=8, widths=(8, 8))
    trained = train_diffusion(faces(8), small, Recipe(steps=15, batch=8, rate=3e-3))
    assert trained["history"]["loss"][-3:].mean() < trained["history"]["loss"][:3].mean()
    assert not any(weight.requires_grad for weight in small.loaded(trained).parameters())
