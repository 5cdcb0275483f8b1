"""Exercises of page 17: where a point of the old picture goes, and a crop that is composed with a Moebius map."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def undone(function: Callable) -> None:
    """The inverse of z / (c z + d)."""
    draw = torch.Generator().manual_seed(0)
    w = torch.complex(*(2 * torch.rand(2, 50, generator=draw) - 1))
    c = torch.tensor(0.2 - 0.1j)
    d = 0.75
    found = function(w, c, d)
    expect(isinstance(found, Tensor) and found.is_complex() and found.shape == w.shape, "return complex points (n,)")
    alike = {
        "that reads the picture once more: solve w = z / (c z + d) for z": w / (c * w + d),
        "c has the other sign in the inverse": d * w / (1 + c * w),
        "solve for z with d too: it multiplies w": w / (1 - c * w),
        "c is not conjugated, it only changes its sign": d * w / (1 - c.conj() * w),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong, atol=1e-5), hint)
    expect(torch.allclose(found / (c * found + d), w, atol=1e-5), "the map of your points is not w")


def composed(function: Callable) -> None:
    """The coefficients of Moebius's map behind a square crop."""
    c, scale, shift = torch.tensor(0.2 + 0.1j), 0.5, torch.tensor(0.3 - 0.2j)
    found = function(c, scale, shift)
    expect(isinstance(found, tuple | list) and len(found) == 4, "return four numbers: a, b, c, d")
    w = torch.complex(*(2 * torch.rand(2, 50, generator=torch.Generator().manual_seed(1)) - 1))

    def mapped(a: Tensor, b: Tensor, below: Tensor, d: Tensor) -> Tensor:
        return (a * w + b) / (below * w + d)

    points = mapped(*(torch.as_tensor(part, dtype=torch.complex64) for part in found))
    later = scale * (w / (c * w + 1)) + shift
    cropped = scale * w + shift
    alike = {
        "the other way round: the last picture's point goes through the crop first, then through the map": later,
        "the crop moves the denominator too: d = 1 + c t": cropped / (c * scale * w + 1),
        "the crop resizes z in the denominator too: c becomes c s": cropped / (c * w + 1 + c * shift),
        "the crop alone is not enough: where is c?": cropped,
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(points, wrong, atol=1e-5), hint)
    expect(torch.allclose(points, cropped / (c * cropped + 1), atol=1e-5), "not z / (c z + 1) at z = s w + t")


EXERCISES = [
    Exercise(
        "17-p",
        "predict",
        "By how many points do the release's Moebius views raise SimCLR's accuracy on distorted pictures?",
        1,
        1,
        "The slides' chart shows 17 to 19 points on ImageNet. Here the encoder is tiny and its pictures have 32 x 32 "
        "pixels. Write your guess before you look at the picture below.",
        'predict("17-p", None)',
    ),
    Exercise(
        "17-1",
        "code",
        "Where does a point go?",
        10,
        1,
        "The new picture's point z reads the old picture's point w = z / (c z + d). Boxes need the other way: give z "
        "from w.",
        """def undo(w, c, d):
    \"\"\"Points z (n,) complex of the new picture where points w (n,) of the old one are seen; c complex, d real.\"\"\"
    raise NotImplementedError


check("17-1", undo)""",
        undone,
    ),
    Exercise(
        "17-2",
        "code",
        "One map for crop and warp.",
        20,
        2,
        "A square crop reads z = s w + t of the warped picture, which reads z / (c z + 1) of the old one. Give the "
        "four coefficients of the one Moebius map that does both at once.",
        """def crop_of_moebius(c, s, t):
    \"\"\"(a, b, c, d) of (a w + b) / (c w + d), which reads the old picture; c and t complex, s real.\"\"\"
    raise NotImplementedError


check("17-2", crop_of_moebius)""",
        composed,
    ),
    Exercise(
        "17-3",
        "open",
        "The lens of a fisheye.",
        60,
        3,
        "Write a radial map z (1 + k |z|^2), as strong as |c| = 0.3, as views and as a test set. Train SimCLR with it "
        "and with Moebius views, and test each on both and on tilted planes. Does robustness to one distortion carry "
        "over to another, and what does that say about what the encoder has learnt?",
    ),
]
