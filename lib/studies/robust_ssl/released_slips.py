"""Slips of the released code, each as it stands there, small enough to run beside what was meant.

The files are those of the repositories MPD and Robustness-Evaluation-of-Self-supervised-Methods.
"""

import torch
from torch import Tensor

from lib.transforms.conformal import Moebius, plane, warp

SUPERVISED_ACCURACY = 76.13  # of the supervised ResNet-50, in per cent; the result files enter it as its clean error
REFERENCE_CLEAN = 43.5  # the clean error of AlexNet, subtracted from a reference whose errors are all 100


def clamped_as_pixels(x: Tensor, c: Tensor) -> Tensor:
    """DINO/MobiusTransform.py with `interpolate_bg`: the coordinates, -1 to 1, are clamped as if they were pixels.

    x (n, C, H, W), c (n,) complex. What lay left of the centre or above it is clamped to 0, and 0 to 1 pixel becomes a
    sliver at -1: the whole view is one smeared corner of the picture. Meant was a clamp to -1 and 1 ("padded").
    """
    height, width = x.shape[2:]
    points = Moebius(c)(plane(height, width, x.device))
    across = points.real.clamp(0, width - 1) / width * 2 - 1
    down = points.imag.clamp(0, height - 1) / height * 2 - 1
    return warp(x, torch.complex(across, down))


def forward_splat(x: Tensor, c: Tensor) -> Tensor:
    """The algorithm as the paper's figure writes it: each pixel is put where the map sends it, rounded.

    x (n, C, H, W), c (n,) complex. It leaves holes, and goes the other way than the code, which reads where the map
    points: reading with c is putting with -c. So a "left" view of the figure is a "right" view of the code.
    """
    height, width = x.shape[2:]
    points = Moebius(c)(plane(height, width, x.device))
    columns, rows = ((points.real + 1) * (width - 1) / 2).round(), ((points.imag + 1) * (height - 1) / 2).round()
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    out = torch.zeros_like(x)
    for row in range(len(x)):
        seen = inside[row]
        out[row][:, rows[row][seen].long(), columns[row][seen].long()] = x[row][:, seen]
    return out


def chained_in_place(z: Tensor, a: complex, b: complex, c: complex, d: complex) -> Tensor:
    """models/ssl.py: (a z + b) / (c z + d) whose numerator is made in place, so that the denominator sees it, not z.

    z of any shape, complex. It is (a z + b) / (c (a z + b) + d): harmless only because the file has a = 1 and b = 0.
    """
    z = z.clone()  # the caller's own points stay; the file changes those too
    numerator = z.mul_(a).add_(b)
    return numerator / (c * z + d)


def repository_mce(errors: Tensor) -> float:
    """evaluation/metric.py: the "mCE" against a reference that always errs, so the plain mean of errors in per cent.

    errors (corruptions, severities) in per cent.
    """
    return errors.mean().item()


def repository_relative_mce(errors: Tensor, clean: float) -> float:
    """evaluation/metric.py: the "relative mCE", which subtracts a clean error once where there are five severities.

    errors (corruptions, 5) and clean in per cent. Above, the model's clean error is subtracted once from the sum of
    five errors; below, AlexNet's once from five times 100, which are not AlexNet's errors.
    """
    below = 100.0 * errors.shape[1] - REFERENCE_CLEAN
    return (100 * (errors.sum(1) - clean) / below).mean().item()


def repository_relative_mce_supervised(errors: Tensor) -> float:
    """out_supervised.json: the same with the supervised net's accuracy, 76.13 %, entered as its clean error."""
    return repository_relative_mce(errors, SUPERVISED_ACCURACY)
