"""Exercises of page 02: projection on eigenvectors, and one step of an attack through it."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def project(function: Callable) -> None:
    """Projection of images on the first k eigenvectors around the mean."""
    draw = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(12, 5, generator=draw))[0]
    mean = torch.rand(12, generator=draw)
    x = torch.rand(4, 1, 3, 4, generator=draw)
    flat = x.flatten(1)

    def wanted(k: int) -> Tensor:
        return ((flat - mean) @ basis[:, :k] @ basis[:, :k].T + mean).view_as(x)

    found = function(x, basis, mean, 2)
    expect(isinstance(found, Tensor) and found.shape == x.shape, f"return images of the shape of x, {tuple(x.shape)}")
    alike = {
        "subtract the mean before you project": (flat @ basis[:, :2] @ basis[:, :2].T + mean),
        "add the mean again after projecting": (flat - mean) @ basis[:, :2] @ basis[:, :2].T,
        "the mean is missing before and after": flat @ basis[:, :2] @ basis[:, :2].T,
        "use the first k columns of the basis only": (flat - mean) @ basis @ basis.T + mean,
        "take the first k columns, not the last": (flat - mean) @ basis[:, -2:] @ basis[:, -2:].T + mean,
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong.view_as(x), atol=1e-5), hint)
    expect(torch.allclose(found, wanted(2), atol=1e-5), "not B B^T (x - m) + m: compare the formula above")
    expect(torch.allclose(function(x, basis, mean, 5), wanted(5), atol=1e-5), "k = 2 is right, k = 5 is not")


def online_step(function: Callable) -> None:
    """One sign step that lowers the similarity of a genuine pair, its gradient taken through the defence."""
    draw = torch.Generator().manual_seed(1)
    first = torch.randn(6, 3, generator=draw)
    keep = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 0.0])
    mix = torch.randn(6, 6, generator=draw)
    x, y = torch.rand(2, 5, 6, generator=draw) * 0.8 + 0.1

    def embed(image: Tensor) -> Tensor:
        return torch.nn.functional.normalize(torch.tanh(image @ first), dim=1)

    def defend(image: Tensor) -> Tensor:
        return image * keep @ mix

    def gradient(through: Callable) -> Tensor:
        moved = x.clone().requires_grad_()
        return torch.autograd.grad((embed(through(moved)) * embed(defend(y))).sum(), moved)[0]

    size = 0.05
    found = function(embed, defend, x, y, size)
    expect(isinstance(found, Tensor) and found.shape == x.shape, "return the attacked images, of the shape of x")
    online = gradient(defend)
    offline = gradient(lambda image: image)
    up = (x + size * online.sign()).clamp(0, 1)
    expect(not torch.allclose(found, up), "this raises the similarity: for a genuine pair the attacker lowers it")
    for of in (offline, -offline):
        around = (x + size * of.sign()).clamp(0, 1)
        expect(not torch.allclose(found, around), "this is the offline step: the gradient must pass the defence")
    expect(not torch.allclose(found, x), "the images did not move: is the gradient zero, or x returned?")
    expect(
        not torch.allclose(found, (x - size * online).clamp(0, 1)), "step along the sign of the gradient, not along it"
    )
    wide = function(embed, defend, x, y, 0.9)
    expect(float(wide.min()) >= 0 and float(wide.max()) <= 1, "an image has pixels between 0 and 1: clamp")
    expect(torch.allclose(found, (x - size * online.sign()).clamp(0, 1), atol=1e-6), "not x - size * sign(gradient)")
    expect(not found.requires_grad, "return a tensor without a graph: detach it")


EXERCISES = [
    Exercise(
        "02-p",
        "predict",
        "How many per cent is the EER behind PCA-200 when the attacker knows the projection (online PGD)?",
        1,
        1,
        "Offline, the same attack leaves an EER of about a sixth. Write your guess before you look at the curve.",
        'predict("02-p", None)',
    ),
    Exercise(
        "02-1",
        "code",
        "Projection on k eigenvectors.",
        15,
        1,
        "Project images on the first k columns of the basis, around the mean.",
        """def project(x, basis, mean, k):
    \"\"\"Images x (n, 1, H, W) on the first k columns of basis (D, N), D = H * W, around mean (D,); shape of x.\"\"\"
    raise NotImplementedError


check("02-1", project)""",
        project,
    ),
    Exercise(
        "02-2",
        "code",
        "One online step.",
        20,
        2,
        "Take one step of projected gradient descent on genuine pairs: lower the similarity of `embed(defend(x))` and "
        "`embed(defend(y))` by a step of `size` along the sign of the gradient, taken through the defence, and keep "
        "the pixels in [0, 1].",
        """def online_step(embed, defend, x, y, size):
    \"\"\"Attacked images for x (n, ...) whose partners are y (n, ...); embed gives unit vectors (n, d).\"\"\"
    raise NotImplementedError


check("02-2", online_step)""",
        online_step,
    ),
    Exercise(
        "02-3",
        "open",
        "Is a basis learnt from faces worth it?",
        45,
        3,
        "Replace the eigenvectors by the first k coefficients of a two-dimensional cosine transform, which has seen no "
        "face, and draw the same trade-off. What does the difference say about the claim that the space of faces is "
        "what protects?",
    ),
]
