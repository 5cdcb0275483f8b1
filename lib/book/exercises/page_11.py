"""Exercises of page 11: neighbours that leave a point out, and trainings and images drawn together."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def neighbours(points: Tensor, labels: Tensor, k: int, own: bool = False) -> float:
    """Share of points whose k nearest others (own: itself too) name its class by majority, the lower class at ties."""
    apart = torch.cdist(points, points)
    if not own:
        apart.fill_diagonal_(torch.inf)
    near = labels[apart.argsort(dim=1)[:, :k]]
    return (near.mode(1).values == labels).double().mean().item()


def left_out_accuracy(function: Callable) -> None:
    """The accuracy of k nearest neighbours, each point left out of its own vote."""
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(60) % 3
    points = 1.2 * torch.eye(3, 5)[labels] + torch.randn(60, 5, generator=draw)
    found = function(points, labels, 5)
    expect(isinstance(found, float | Tensor), "return one number, the share of points that are named rightly")
    found = float(found)
    expect(
        abs(found - neighbours(points, labels, 5, own=True)) > 1e-9, "a point must not vote for itself: leave it out"
    )
    expect(abs(found - neighbours(points, labels, 6)) > 1e-9, "k neighbours vote, not k + 1")
    expect(abs(found - 100 * neighbours(points, labels, 5)) > 1e-9, "a share lies between 0 and 1: this is in per cent")
    expect(abs(found - neighbours(points, labels, 5)) < 1e-9, "not the share of points whose 5 nearest others agree")
    one = float(function(points, labels, 1))
    expect(abs(one - neighbours(points, labels, 1)) < 1e-9, "k = 5 is right, k = 1 is not: nearest first")


def drawn_means(function: Callable) -> None:
    """Means of values (seeds, n) for draws of trainings and of images."""
    draw = torch.Generator().manual_seed(4)
    values = torch.rand(3, 20, generator=draw).double() + torch.arange(3)[:, None]
    trainings = torch.randint(3, (7, 3), generator=draw)
    images = torch.randint(20, (7, 20), generator=draw)
    wanted = torch.stack([values[t][:, i].mean() for t, i in zip(trainings, images, strict=True)])
    found = function(values, trainings, images)
    expect(isinstance(found, Tensor) and found.shape == (7,), "return one mean for each of the draws, (r,)")
    found = found.double()
    alike = {
        "the trainings are not drawn: their spread must be in the interval": values.mean(0)[images].mean(1),
        "the images are not drawn: their spread must be in the interval": values.mean(1)[trainings].mean(1),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong), hint)
    expect(torch.allclose(found, wanted), "not the mean over the drawn trainings of the drawn images")


EXERCISES = [
    Exercise(
        "11-p",
        "predict",
        "How large is the overlap of clean and attacked features where these are the raw pixels and nothing defends?",
        1,
        1,
        "The source prints 0.54 for its baseline and 0.98 for DAR-SFRL. The attack is PGD at 8/255. Write a number "
        "between 0 and 1 before you look.",
        'predict("11-p", None)',
    ),
    Exercise(
        "11-1",
        "code",
        "Neighbours that leave a point out.",
        15,
        1,
        "Give the share of points whose class is the majority among their k nearest *other* points.",
        """def left_out_accuracy(points, labels, k):
    \"\"\"Share of points (n, d) whose k nearest others (Euclidean) have its label (n,) most often.\"\"\"
    raise NotImplementedError


check("11-1", left_out_accuracy)""",
        left_out_accuracy,
    ),
    Exercise(
        "11-2",
        "code",
        "Trainings and images drawn together.",
        20,
        2,
        "Every interval of this page draws trainings and test images with replacement. Given the positions drawn, "
        "compute the mean of each draw.",
        """def drawn_means(values, trainings, images):
    \"\"\"Means (r,) of values (seeds, n) for drawn positions: trainings (r, seeds) and images (r, n).\"\"\"
    raise NotImplementedError


check("11-2", drawn_means)""",
        drawn_means,
    ),
    Exercise(
        "11-3",
        "open",
        "A number that cannot be fooled.",
        60,
        3,
        "Overlap can be raised without making anything robust. Train a classifier that tells clean from attacked "
        "features on half of the images and take its error on the other half as the measure. Which of the changes in "
        "the table of sanity checks does it see, and what does it say of raw pixels?",
    ),
]
