"""Exercises of page 16: a corruption, and an error that is relative to the clean one."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def lowered_contrast(function: Callable) -> None:
    """Each channel's distance from its mean, times a factor, within [0,1]."""
    x = (
        torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.3, 0.6, 1.0])[:, None, None]
    )
    x[0] = x[0] / 2
    mean = x.mean((2, 3), keepdim=True)
    wanted = (mean + 0.4 * (x - mean)).clamp(0, 1)
    found = function(x, 0.4)
    expect(isinstance(found, Tensor) and found.shape == x.shape, "return pictures of the shape of x")
    alike = {
        "the mean is that of a channel of one picture, not of the batch": x.mean((0, 2, 3), keepdim=True),
        "each channel has a mean of its own: do not average over the channels": x.mean((1, 2, 3), keepdim=True),
        "the distance from the mean shrinks, not the distance from black": torch.zeros(1),
    }
    for hint, centre in alike.items():
        expect(not torch.allclose(found, (centre + 0.4 * (x - centre)).clamp(0, 1), atol=1e-4), hint)
    expect(torch.allclose(found, wanted, atol=1e-4), "not mean + factor * (x - mean)")
    expect(function(x, 3.0).max() <= 1 and function(x, 3.0).min() >= 0, "keep the result within [0,1]")


def relative_error(function: Callable) -> None:
    """Sums over severities, the clean error taken off every one of them, then the mean of ratios."""
    draw = torch.Generator().manual_seed(1)
    errors, reference = (40 + 20 * torch.rand(4, 5, generator=draw) for _ in range(2))
    reference = reference + torch.tensor([0.0, 5, 10, 30])[:, None]
    wanted = ((errors - 25).sum(1) / (reference - 20).sum(1)).mean()
    found = function(errors, 25.0, reference, 20.0)
    expect(torch.as_tensor(found).numel() == 1, "return one number")
    alike = {
        "the clean error belongs to each severity: subtract it five times, not once": (
            (errors.sum(1) - 25) / (reference.sum(1) - 20)
        ).mean(),
        "each network has a clean error of its own, the reference too": (
            (errors - 25).sum(1) / (reference - 25).sum(1)
        ).mean(),
        "subtract the clean errors inside the sums": (errors.sum(1) / reference.sum(1)).mean(),
        "the mean of the corruptions' ratios, not the ratio of sums over all": (errors - 25).sum()
        / (reference - 20).sum(),
    }
    for hint, wrong in alike.items():
        expect(abs(float(found) - float(wrong)) > 1e-4, hint)
    expect(abs(float(found) - float(wanted)) < 1e-4, "not the mean over corruptions of sum(errors - clean) ratios")


EXERCISES = [
    Exercise(
        "16-p",
        "predict",
        "How many points of accuracy does SimCLR lose at severity 5?",
        1,
        1,
        "Clean accuracy less the accuracy at severity 5, mean over the fifteen corruptions. Write your guess before "
        "you look at the figure.",
        'predict("16-p", None)',
    ),
    Exercise(
        "16-1",
        "code",
        "Take the contrast away.",
        10,
        1,
        "Move each value toward the mean of its own channel in its own picture, so that `factor` of the distance is "
        "left, and keep the result within [0,1].",
        """def contrast(x, factor):
    \"\"\"Images (n, 3, H, W) in [0,1] whose distances from their channel's mean are `factor` of what they were.\"\"\"
    raise NotImplementedError


check("16-1", contrast)""",
        lowered_contrast,
    ),
    Exercise(
        "16-2",
        "code",
        "The relative error as its authors define it.",
        15,
        2,
        "For each corruption, what it adds to the clean error, summed over the severities, by what it adds to that of "
        "the reference; then the mean over the corruptions.",
        """def relative_mce(errors, clean, reference, reference_clean):
    \"\"\"One number from errors (C, 5) and reference (C, 5), and the clean error of each network.\"\"\"
    raise NotImplementedError


check("16-2", relative_mce)""",
        relative_error,
    ),
    Exercise(
        "16-3",
        "open",
        "A twentieth corruption.",
        60,
        3,
        "Invent a corruption that cameras of a place you know suffer from (rain on the lens, a fluorescent tube, a "
        "compressed video call), give it five severities, and measure families and recogniser under it. Where in the "
        "scatter of faces against objects does it stand? Choose the severities before you look at any error, and say "
        "by which rule.",
    ),
]
