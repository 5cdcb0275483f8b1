"""Exercises of page 00: the equal error rate by hand, and the threshold."""

from collections.abc import Callable

import torch

from lib.book.exercises.base import Exercise, expect

SCORES = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1, 0.05, 0.0])
SAME = torch.tensor([True] * 4 + [False] * 6)  # one genuine pair of four and one or two impostor pairs of six err


def error_rates(function: Callable) -> None:
    """FAR and FRR at a threshold; the two kinds have different sizes, so that mixing them up shows."""
    found = function(SCORES, SAME, 0.5)
    expect(isinstance(found, tuple) and len(found) == 2, "return two numbers, (far, frr)")
    far, frr = (float(value) for value in found)
    wanted = (1 / 6, 1 / 4)
    expect((round(far, 4), round(frr, 4)) != (0.25, 0.1667), "far and frr are swapped: FAR counts impostor pairs")
    expect((round(far, 4), round(frr, 4)) != (0.1, 0.1), "divide by the pairs of the kind, not by all pairs")
    expect(abs(far - (1 - wanted[0])) > 1e-4, "an impostor pair is accepted when its score reaches the threshold")
    expect(abs(far - wanted[0]) < 1e-4, f"FAR at 0.5 is 1 of 6 impostor pairs, not {far:.4f}")
    expect(abs(frr - wanted[1]) < 1e-4, f"FRR at 0.5 is 1 of 4 genuine pairs, not {frr:.4f}")
    at_score = tuple(round(float(value), 4) for value in function(SCORES, SAME, 0.6))
    expect(at_score == (0.1667, 0.25), "a pair whose score equals the threshold is accepted (>=)")


def equal_error_rate(function: Callable) -> None:
    """EER of separated, overlapping and swapped scores."""
    same = torch.tensor([True] * 4 + [False] * 4)
    apart = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
    one = torch.tensor([0.9, 0.8, 0.7, 0.3, 0.6, 0.4, 0.2, 0.1])
    found = float(function(apart, same))
    expect(found != 1, "your EER is 1 where the kinds are apart: a pair is accepted when its score is high")
    expect(abs(found) < 1e-4, f"where a threshold separates the kinds the EER is 0, not {found:.3f}")
    found = float(function(one, same))
    expect(abs(found - 25) > 1e-3, "give a share between 0 and 1, not per cent")
    expect(abs(found - 0.25) < 1e-4, f"one pair of four errs on either side, so the EER is 0.25, not {found:.3f}")
    found = float(function(-apart, same))
    expect(abs(found - 1) < 1e-4, f"with the kinds swapped the EER is 1, not {found:.3f}: do not stop at one half")
    many = torch.cat([torch.linspace(0.3, 1.0, 40), torch.linspace(0.0, 0.6, 80)])
    found = float(function(many, torch.arange(120) < 40))
    expect(abs(found - 0.2308) < 0.02, f"with 40 genuine and 80 impostor pairs it is about 0.23, not {found:.3f}")


EXERCISES = [
    Exercise(
        "00-p",
        "predict",
        "How many per cent is the EER of these faces under attack?",
        1,
        1,
        "The attack moves each picture by 4 % of its norm, which is hard to see. Before attack the EER is near 0 %; "
        "50 % would be a coin. Write your guess before you run the next cell.",
        'predict("00-p", None)',
    ),
    Exercise(
        "00-1",
        "code",
        "Error rates at a threshold.",
        10,
        1,
        "A pair is accepted when its score is at least the threshold. Return the false accept rate (FAR) and the "
        "false reject rate (FRR), both between 0 and 1.",
        """def error_rates(scores, same, threshold):
    \"\"\"FAR and FRR of scores (P,) with labels same (P,), True for a genuine pair.\"\"\"
    raise NotImplementedError


check("00-1", error_rates)""",
        error_rates,
    ),
    Exercise(
        "00-2",
        "code",
        "The equal error rate by hand.",
        15,
        2,
        "Sweep the threshold over all scores, find where FAR and FRR are nearest to each other, and return their "
        "mean. Compare with `lib.evaluation.eer`.",
        """def equal_error_rate(scores, same):
    \"\"\"EER of scores (P,) with labels same (P,), between 0 and 1.\"\"\"
    raise NotImplementedError


check("00-2", equal_error_rate)""",
        equal_error_rate,
    ),
    Exercise(
        "00-3",
        "open",
        "Your own faces.",
        45,
        2,
        "Put pictures of people you know (who agreed) in a folder and run this page on them. Whose pairs are hardest, "
        "and is it the recogniser, the light or the pose? How small may the attack be before you see no difference "
        "in the EER?",
    ),
]
