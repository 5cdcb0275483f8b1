"""Exercises of page 01: noise of equal norm in a subspace, and the share of energy."""

from collections.abc import Callable

import torch

from lib.book.exercises.base import Exercise, expect


def subspace_noise(function: Callable) -> None:
    """Gaussian noise on a mask's pixels whose norm is a share of the image's, per image."""
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(3, 1, 6, 4, generator=draw) * torch.tensor([1.0, 0.5, 0.1]).view(3, 1, 1, 1)
    mask = torch.zeros(6, 4)
    mask[:2] = 1
    noise = function(x, mask, 0.1)
    expect(isinstance(noise, torch.Tensor) and noise.shape == x.shape, "return noise of the images' shape (n, C, H, W)")
    expect(float((noise * (1 - mask)).abs().max()) == 0, "noise lies outside the mask: multiply by the mask")
    norms = noise.flatten(1).norm(dim=1)
    wanted = 0.1 * x.flatten(1).norm(dim=1)
    expect(float(noise.abs().max()) > 0, "the noise is zero everywhere")
    one = norms.div(wanted)
    expect(
        not torch.allclose(norms.norm(), 0.1 * x.norm(), rtol=1e-3) or torch.allclose(one, torch.ones(3), rtol=1e-3),
        "each image has a norm of its own: flatten(1) before the norm",
    )
    expect(torch.allclose(one, torch.ones(3), rtol=1e-3), "the norm is not intensity * ||x||: scale after masking")
    expect(float((function(x, mask, 0.1) - noise).abs().max()) > 0, "two calls must draw two noises")
    inside = torch.cat([function(x, mask, 0.1)[:, :, :2].flatten(1) for _ in range(60)])
    expect(inside.unique().numel() > 100, "the noise takes too few values: draw it from a Gaussian")
    expect(abs(float(inside.mean() / inside.std())) < 0.2, "the noise is not centred on zero: use randn, not rand")


def energy_share(function: Callable) -> None:
    """The share of squared norm on a mask, per image."""
    g = torch.zeros(2, 1, 4, 2)
    g[0, 0, 0, 0] = 3.0
    g[0, 0, 3, 1] = -4.0
    g[1, 0, 1, 0] = 2.0
    mask = torch.zeros(4, 2)
    mask[:2] = 1
    found = torch.as_tensor(function(g, mask)).flatten()
    expect(len(found) == 2, "return one share an image, (n,)")
    expect(abs(float(found[0]) - 0.6) > 1e-4, "that is a quotient of norms: energy is the norm squared")
    expect(abs(float(found[0]) - 3 / 7) > 1e-4, "that is a quotient of absolute sums: energy is the sum of squares")
    expect(abs(float(found[0]) - 9 / 29) > 1e-4, "each image has a total of its own: sum over its pixels only")
    expect(abs(float(found[0]) - 9 / 25) < 1e-4, f"3 squared over 3 squared + 4 squared is 0.36, not {found[0]:.4f}")
    expect(abs(float(found[1]) - 1) < 1e-4, "all of the second image's energy lies on the mask")


EXERCISES = [
    Exercise(
        "01-p",
        "predict",
        "What is the spread in the top third, divided by that in the middle third?",
        1,
        1,
        "At equal norm, 1 would mean that it does not matter where the noise sits.",
        'predict("01-p", None)',
    ),
    Exercise(
        "01-1",
        "code",
        "Noise of equal norm in a subspace.",
        15,
        1,
        "Draw Gaussian noise that is zero outside the mask and whose L2 norm is `intensity` times that of its image.",
        """def subspace_noise(x, mask, intensity):
    \"\"\"Noise (n, C, H, W) for images x (n, C, H, W) on the pixels where mask (H, W) is 1.\"\"\"
    raise NotImplementedError


check("01-1", subspace_noise)""",
        subspace_noise,
    ),
    Exercise(
        "01-2",
        "code",
        "Which share of the gradient lies in a subspace?",
        10,
        2,
        "The spread that weak noise causes is proportional to the norm of the gradient on the noisy pixels. Return the "
        "share of each gradient's energy (its squared norm) that lies on the mask.",
        """def energy_share(gradient, mask):
    \"\"\"Share (n,) of the energy of gradients (n, C, H, W) on the pixels where mask (H, W) is 1.\"\"\"
    raise NotImplementedError


check("01-2", energy_share)""",
        energy_share,
    ),
    Exercise(
        "01-3",
        "open",
        "An immune space of your own.",
        30,
        3,
        "Choose any third of the pixels, not only a band of rows, so that noise on it disturbs the recogniser least. "
        "Is it immune for people you did not choose it on? And for an attacker who may choose the noise?",
    ),
]
