"""Test sets under perspective distortion: ImageNet-PD's eight subsets, a sweep of their strength, and tilted planes."""

import cmath
import itertools
import math

import torch
from torch import Tensor

from lib.errors import WorkbookError, choices
from lib.transforms.conformal import Moebius, Tilt, displacement, plane, warp

DIRECTIONS = {"left": -1, "right": 1, "top": -1j, "bottom": 1j}  # of c, as the released library names them
SUBSETS = {f"{way}, {ground}": (way, ground) for ground, way in itertools.product(("black", "padded"), DIRECTIONS)}
MAGNITUDE = 0.3  # of |c|, where the benchmark names none
SWEEP = (0.1, 0.2, 0.3, 0.4, 0.5)


def distort(x: Tensor, direction: str, background: str = "black", magnitude: float = MAGNITUDE) -> Tensor:
    """Images (n, C, H, W) under Moebius's map with c of `magnitude` in `direction`, one for all."""
    c = torch.full((1,), _known(direction) * magnitude, dtype=torch.complex64, device=x.device)
    return warp(x, Moebius(c)(plane(*x.shape[2:], x.device)[None])[0], background)


def tilt(x: Tensor, direction: str, background: str = "black", degrees: float = 40.0) -> Tensor:
    """Images (n, C, H, W) as pictures on a plane turned by `degrees` before a pinhole camera: real perspective.

    The side named by `direction` is that of `distort`: the one where the picture is enlarged.
    """
    away = -complex(_known(direction)).conjugate()  # Moebius's map enlarges where Re(c z) is largest
    setting = (torch.full((1,), value, device=x.device) for value in (math.radians(degrees), cmath.phase(away)))
    return warp(x, Tilt(*setting)(plane(*x.shape[2:], x.device)[None])[0], background)


def degrees_as_strong(magnitude: float = MAGNITUDE, distance: float = 2.0) -> float:
    """The angle of `tilt` that moves points as far, root mean square over the square, as Moebius's |c|; bisected.

    distance: of the camera, as `Tilt` has it; `tilt` has 2.
    """
    wanted = displacement(Moebius(torch.tensor([complex(magnitude)]))).item()
    low, high = 0.0, 60.0
    for _ in range(30):
        middle = (low + high) / 2
        found = displacement(Tilt(torch.tensor([math.radians(middle)]), torch.zeros(1), distance)).item()
        low, high = (middle, high) if found < wanted else (low, middle)
    return (low + high) / 2


def _known(direction: str) -> complex:
    if direction not in DIRECTIONS:
        raise WorkbookError(f"A perspective distortion goes {choices(list(DIRECTIONS))}, not '{direction}'.")
    return DIRECTIONS[direction]
