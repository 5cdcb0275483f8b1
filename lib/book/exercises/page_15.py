"""Exercises of page 15: how collapsed an encoder is, and codes that are spread evenly."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def measured_spread(function: Callable) -> None:
    """The mean standard deviation of unit features, times the root of their number."""
    features = torch.randn(400, 16, generator=torch.Generator().manual_seed(0)) * torch.linspace(0.2, 3, 16) + 0.5
    unit = F.normalize(features, dim=1)
    wanted = (unit.std(0, unbiased=False).mean() * 4).item()
    found = function(features)
    expect(isinstance(found, float | Tensor) and torch.as_tensor(found).numel() == 1, "return one number")
    alike = {
        "bring each row to unit length first": features.std(0).mean().item() * 4,
        "divide by 1/sqrt(d), the value of an even sphere": wanted / 4,
        "the deviation is taken over the pictures (dim 0), not within a picture": unit.std(1).mean().item() * 4,
    }
    for hint, wrong in alike.items():
        expect(abs(float(found) - wrong) > 0.02, hint)
    expect(abs(float(found) - wanted) < 0.01, "not the mean standard deviation of unit features over 1/sqrt(d)")
    expect(abs(float(function(torch.ones(9, 4)))) < 1e-4, "a constant answer has no spread: the result must be 0")


def even_codes(function: Callable) -> None:
    """Three rounds of Sinkhorn's normalisation, columns first, rows last."""
    scores = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)).tanh()
    start = (scores / 0.5).exp()
    table = columns_last = start
    for _ in range(3):
        table = table / table.sum(0)
        table = table / table.sum(1, keepdim=True)
        columns_last = columns_last / columns_last.sum(1, keepdim=True)
        columns_last = columns_last / columns_last.sum(0)
    found = function(scores, 0.5, 3)
    expect(isinstance(found, Tensor) and found.shape == scores.shape, "return codes of the shape of scores, (n, K)")
    alike = {
        "end with the rows: the code of a picture must add up to 1": columns_last,
        "also divide the columns by their sums, or one prototype may take all": start / start.sum(1, keepdim=True),
        "repeat: one round does not balance both": start / start.sum(0) / (start / start.sum(0)).sum(1, keepdim=True),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong, atol=1e-4), hint)
    expect(torch.allclose(found, table, atol=1e-4), "not three rounds of columns, then rows, of exp(scores / eps)")


EXERCISES = [
    Exercise(
        "15-p",
        "predict",
        "What spread does SimSiam have without its stop-gradient?",
        1,
        1,
        "1 is the spread of points that lie evenly on a sphere, 0 is one and the same answer for every picture. Write "
        "your guess before you look at the figure.",
        'predict("15-p", None)',
    ),
    Exercise(
        "15-1",
        "code",
        "Measure a collapse.",
        10,
        1,
        "Bring the features of each picture to unit length, take the standard deviation of each feature over the "
        "pictures, average, and divide by the value of an even sphere, 1/sqrt(d).",
        """def spread(features):
    \"\"\"One number from features (n, d): about 1 where they are spread evenly, 0 where they have collapsed.\"\"\"
    raise NotImplementedError


check("15-1", spread)""",
        measured_spread,
    ),
    Exercise(
        "15-2",
        "code",
        "Codes that cannot collapse.",
        20,
        2,
        "Turn scores into codes as SwAV does: exponentials of scores over eps, then several rounds in which each "
        "column and then each row is divided by its sum.",
        """def codes(scores, eps, rounds):
    \"\"\"Codes (n, K) from scores (n, K): rows that add up to 1, and columns of nearly equal sums.\"\"\"
    raise NotImplementedError


check("15-2", codes)""",
        even_codes,
    ),
    Exercise(
        "15-3",
        "open",
        "A ninth family.",
        60,
        3,
        "Invent a loss of two views that needs neither negatives nor a slow copy, and say before you train it what "
        "keeps it from the constant answer. Derive a class from `ssl.Family`, move the points of the circle with it, "
        "then remove your term. Does the circle foretell what the encoder does?",
    ),
]
