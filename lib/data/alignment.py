"""Five-point alignment of faces to the 112x112 template that ArcFace-style recognisers are trained on."""

import math

import numpy as np
from PIL import Image

from lib.errors import WorkbookError

# Left eye, right eye (as seen by the viewer), nose tip, left and right mouth corner, in pixels of a 112x112 image.
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that maps `points` (k, 2) closest to `target` (k, 2), in least squares.

    Gives a (2, 3) matrix M = [[a, -b, tx], [b, a, ty]], so that a point p goes to M[:, :2] @ p + M[:, 2].
    """
    points = np.asarray(points, float)
    target = np.asarray(target, float)
    if points.shape != target.shape or points.ndim != 2 or points.shape[1] != 2 or len(points) < 2:
        raise WorkbookError(f"Alignment needs two (k, 2) arrays of points, not {points.shape} and {target.shape}.")
    # As complex numbers the map is z -> w z + t, a linear regression with one slope.
    source = points @ [1, 1j]
    goal = target @ [1, 1j]
    centred = source - source.mean()
    slope = np.vdot(centred, goal - goal.mean()) / np.vdot(centred, centred)
    shift = goal.mean() - slope * source.mean()
    return np.array([[slope.real, -slope.imag, shift.real], [slope.imag, slope.real, shift.imag]])


def warp(image: Image.Image, matrix: np.ndarray, size: int) -> Image.Image:
    """`image` seen through the (2, 3) similarity `matrix` (image to output pixels), size x size.

    Where the output is coarser than the input, several samples are averaged per pixel, so that nothing aliases.
    """
    fine = max(1, math.ceil(1 / np.hypot(*matrix[:, 0])))
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ np.diag([1 / fine, 1 / fine, 1])
    big = image.transform(
        (size * fine, size * fine), Image.Transform.AFFINE, inverse[:2].flatten().tolist(), Image.Resampling.BICUBIC
    )
    return big if fine == 1 else big.reduce(fine)
