"""Exercises of page 10: one step of a momentum attack, and the worst case over several attacks."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def momentum_step(function: Callable) -> None:
    """One step of MIFGSM: the new images and the new momentum."""
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand(4, 3, 5, 5, generator=draw)
    x = (clean + 0.02 * torch.randn(clean.shape, generator=draw).sign()).clamp(0, 1)
    gradient = torch.randn(clean.shape, generator=draw) * torch.tensor([1.0, 5.0, 0.1, 20.0]).view(4, 1, 1, 1)
    momentum = torch.randn(clean.shape, generator=draw)
    size, eps = 0.02, 0.03
    scaled = gradient / gradient.abs().mean((1, 2, 3), keepdim=True)

    def stepped(direction: Tensor) -> Tensor:
        return (clean + (x + size * direction.sign() - clean).clamp(-eps, eps)).clamp(0, 1)

    found = function(x, clean, gradient, momentum, size, eps)
    expect(isinstance(found, tuple) and len(found) == 2, "return two tensors: the images and the momentum")
    images, kept = found
    expect(images.shape == x.shape and kept.shape == x.shape, "both tensors have the shape of x")
    expect(not torch.allclose(kept, momentum + gradient), "divide each image's gradient by its mean absolute value")
    whole = gradient / gradient.abs().mean()
    expect(not torch.allclose(kept, momentum + whole), "the mean absolute value is of each image, not of the batch")
    expect(not torch.allclose(kept, scaled), "the old momentum is missing: m <- m + g / mean|g|")
    expect(torch.allclose(kept, momentum + scaled, atol=1e-5), "not m + g / mean|g|: compare the formula above")
    expect(not torch.allclose(images, stepped(gradient)), "step along the sign of the momentum, not of the gradient")
    free = (x + size * kept.sign()).clamp(0, 1)
    expect(not torch.allclose(images, free), "stay within eps of the clean images: the step may leave the ball")
    expect(float(images.min()) >= 0 and float(images.max()) <= 1, "an image has pixels between 0 and 1: clamp")
    expect(torch.allclose(images, stepped(kept), atol=1e-6), "not the step of the formula above")


def worst_accuracy(function: Callable) -> None:
    """The share of images that are right when clean and under every attack."""
    clean = torch.tensor([True, True, True, False, True, False, False])
    attacked = torch.tensor(
        [[True, False, True, True, True, True, False], [False, True, True, True, True, False, False]]
    )
    found = float(function(clean, attacked))
    expect(abs(found - 4 / 7) > 1e-6, "this is the lowest accuracy of one attack: take the worst case image by image")
    expect(abs(found - 3 / 7) > 1e-6, "an image that is wrong when clean does not count as withstanding")
    expect(abs(found - 2 / 4) > 1e-6, "divide by all images, not by those that are right when clean")
    expect(abs(found - 2 / 7) < 1e-6, "the share, in [0, 1], of images right when clean and under every attack")


EXERCISES = [
    Exercise(
        "10-p",
        "predict",
        "How many per cent of the test images does DAR-SFRL's probe still read rightly under the worst of the seven "
        "attacks, end to end?",
        1,
        1,
        "The source prints 66 per cent under each attack. Write your guess before you look at the table.",
        'predict("10-p", None)',
    ),
    Exercise(
        "10-1",
        "code",
        "One step with momentum.",
        15,
        1,
        "Write one step of MIFGSM as in the formula above, with decay 1: return the new images and the new momentum.",
        """def momentum_step(x, clean, gradient, momentum, size, eps):
    \"\"\"(images, momentum) after one step of `size` from x (n, C, H, W), within eps of clean and within [0, 1].\"\"\"
    raise NotImplementedError


check("10-1", momentum_step)""",
        momentum_step,
    ),
    Exercise(
        "10-2",
        "code",
        "The worst case over attacks.",
        10,
        2,
        "An attacker picks, for each image, the attack that works; or none, if the image is misread already. What "
        "accuracy is left?",
        """def worst_accuracy(clean, attacked):
    \"\"\"Share in [0, 1] from right-or-wrong of the clean images (n,) and under each attack (attacks, n), bool.\"\"\"
    raise NotImplementedError


check("10-2", worst_accuracy)""",
        worst_accuracy,
    ),
    Exercise(
        "10-3",
        "open",
        "Which surrogate is the worst for DAR-SFRL?",
        45,
        3,
        "The transfer attack of this page climbs a convolutional classifier. Climb a linear classifier of raw pixels "
        "instead, which anybody can fit in a minute. What is left of DAR-SFRL's accuracy, and what does that say about "
        "how its pixels are read?",
    ),
]
