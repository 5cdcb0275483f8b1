import functools

import pytest
import torch
from torch import nn

from lib.attacks.budgets import intensity_of
from lib.defences.magnet import MagNet
from lib.defences.pixel import PixelCNN, bits_per_pixel
from lib.errors import WorkbookError
from lib.training.batches import pixels_of
from lib.training.loop import Recipe, fit
from lib.training.purifiers import Denoising, PixelLikelihood, mean_loss


def smooth(count=24, side=16, seed=0):
    """Images with one bright disc each, in [0,1]."""
    centre = torch.rand(count, 2, 1, 1, generator=torch.Generator().manual_seed(seed)) * side
    grid = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).float()
    return torch.exp(-(grid - centre).square().sum(1, keepdim=True) / 20) * 0.8 + 0.1


class Identity(nn.Module):
    def __init__(self):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x + self.anchor


def generator():
    return torch.Generator().manual_seed(0)


def test_intensity_is_exact_for_each_image():
    x = smooth()
    noisy = Denoising(x, intensity=0.04).noisy(x, generator())
    assert torch.allclose(intensity_of(x, noisy), torch.full((len(x),), 0.04), rtol=1e-4)


def test_sigma_is_absolute():
    x = smooth()
    noise = Denoising(x, sigma=0.1).noisy(x, generator()) - x
    assert noise.std().item() == pytest.approx(0.1, rel=0.05)
    assert noise.mean().abs() < 0.01


def test_the_identity_pays_for_all_noise():
    x, index = smooth(), torch.tensor([3, 5])
    loss = Denoising(x, sigma=0.1)
    noise = loss.noisy(x[index], generator()) - x[index]
    assert loss(Identity(), index, generator())["loss"].item() == pytest.approx(noise.square().mean().item(), rel=1e-4)


def test_bytes_and_floats_give_the_same_pixels():
    x = (smooth() * 255).byte()
    index, model = torch.tensor([0, 4]), Identity()
    assert torch.equal(pixels_of(x, index, model), pixels_of(x.float() / 255, index, model))


def test_memory_is_plain_whatever_came():
    x = torch.rand(3, 8, 8, 1).permute(0, 3, 1, 2)  # one channel, strides of channels_last
    assert pixels_of(x, torch.arange(3), Identity()).stride() == (64, 64, 8, 1)


def test_likelihood_is_bits_per_pixel_also_on_crops():
    x, model, index = smooth(), PixelCNN(4, 2, 16), torch.tensor([1, 2, 7])
    whole = PixelLikelihood(x)(model, index, generator())["loss"]
    assert torch.equal(whole, bits_per_pixel(model, x[index]))
    assert torch.equal(PixelLikelihood(x, crop=99)(model, index, generator())["loss"], whole)
    assert PixelLikelihood(x, crop=6)(model, index, generator())["loss"] != whole


def test_mean_loss_weighs_batches_by_their_size():
    x, model = smooth(10), PixelCNN(4, 2, 16)
    whole = bits_per_pixel(model, x).item()
    assert mean_loss(PixelLikelihood(x), model, batch=4) == pytest.approx(whole, rel=1e-5)


def test_a_purifier_learns(tmp_path):
    x = smooth()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, density = MagNet(8, "relu"), PixelCNN(8, 2, 32)
    held_out = functools.partial(mean_loss, Denoising(smooth(8, seed=1), sigma=0.1))
    before = held_out(model)
    fit(model, Denoising(x, sigma=0.1), 24, Recipe(60, rate=1e-2, check_every=20), held_out=held_out, folder=tmp_path)
    assert held_out(model) < 0.5 * before
    history = fit(density, PixelLikelihood(x), 24, Recipe(40, rate=1e-2), folder=tmp_path)
    assert history["loss"][-1] < 0.7 * history["loss"][0]


def test_bad_requests():
    with pytest.raises(WorkbookError, match="give intensity or sigma"):
        Denoising(smooth())
    with pytest.raises(WorkbookError, match="give intensity or sigma"):
        Denoising(smooth(), intensity=0.04, sigma=0.1)
