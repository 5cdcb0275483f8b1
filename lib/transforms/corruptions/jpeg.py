"""Baseline JPEG with halved chroma, as libjpeg codes and decodes it, on whole batches and without the bit stream.

The bit stream loses nothing, so a picture's loss is that of rounding: of colours, of the chroma's means, of the cosine
transform's coefficients.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(((99,) * 8,) * 4),
)
# Colours to luma and chroma in parts of 65536, and what is added before rounding down.
TO_YCC = ((19595, 38470, 7471), (-11058, -21710, 32768), (32768, -27439, -5329))
ADDED = (32768, 128 * 65536 + 32767, 128 * 65536 + 32767)
EVEN = (4433, 6270, -15137)  # the constants of the transform in parts of 8192: 0.541196100, 0.765366865, -1.847759065
ODD = (2446, 16819, 25172, 12299, -7373, -20995, -16069, -3196, 9633)


def jpeg_rounded(x: Tensor, quality: int) -> Tensor:
    """Images (n, 3, H, W) in [0,1] after JPEG of `quality` (1 to 100), in whole steps of 1/255."""
    height, width = x.shape[2:]
    levels = (x.double() * 255).round()
    added = levels.new_tensor(ADDED).view(1, 3, 1, 1)
    colours = torch.einsum("ij,njhw->nihw", levels.new_tensor(TO_YCC), levels).add(added).div(65536).floor()
    colours = _to_multiple(colours, 16)
    luma = coded(colours[:, :1], _table(LUMINANCE, quality))[:, :, :height, :width]
    chroma = coded(halved(colours[:, 1:]), _table(CHROMINANCE, quality))
    chroma = upsampled(chroma[:, :, : (height + 1) // 2, : (width + 1) // 2])
    blue, red = (chroma[:, :, :height, :width] - 128).split(1, 1)
    green = luma - 0.344136286 * blue - 0.714136286 * red
    rgb = torch.cat([luma + 1.402 * red, green, luma + 1.772 * blue], 1)
    return (rgb.round().clamp(0, 255) / 255).to(x)


def _to_multiple(x: Tensor, side: int) -> Tensor:
    return pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side), mode="replicate")


def _table(base: tuple, quality: int) -> Tensor:
    """The Independent JPEG Group's table (8, 8) at `quality`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(base) * scale + 50) // 100).clamp(1, 255)


@cache
def whole_cosines() -> Tensor:
    """libjpeg's cosine transform of eight values in parts of 8192, sqrt(8) times the orthonormal one; (8, 8) whole.

    Row = frequency. Its steps (Loeffler, Ligtenberg and Moschytz 1989) applied to the unit vectors.
    """
    unit = torch.eye(8, dtype=torch.float64)
    total = unit[:4] + unit[4:].flip(0)
    gap = unit[:4] - unit[4:].flip(0)
    outer = total[:2] + total[2:].flip(0)
    inner = total[:2] - total[2:].flip(0)
    turned = (inner[0] + inner[1]) * EVEN[0]
    rows = torch.empty(8, 8, dtype=torch.float64)
    rows[0] = (outer[0] + outer[1]) * 8192
    rows[4] = (outer[0] - outer[1]) * 8192
    rows[2] = turned + inner[0] * EVEN[1]
    rows[6] = turned + inner[1] * EVEN[2]
    seventh, sixth, fifth, fourth = gap
    sums = (fourth + seventh, fifth + sixth, fourth + sixth, fifth + seventh)
    crossed = (sums[2] + sums[3]) * ODD[8]
    first = sums[0] * ODD[4]
    second = sums[1] * ODD[5]
    third = sums[2] * ODD[6] + crossed
    last = sums[3] * ODD[7] + crossed
    rows[7] = fourth * ODD[0] + first + third
    rows[5] = fifth * ODD[1] + second + last
    rows[3] = sixth * ODD[2] + second + third
    rows[1] = seventh * ODD[3] + first + last
    return rows


def _descaled(x: Tensor, bits: int) -> Tensor:
    return (x / 2**bits + 0.5).floor()


def coded(x: Tensor, table: Tensor) -> Tensor:
    """Levels (n, C, H, W), sides multiples of 8, after transform, rounding to multiples of `table`, and return.

    In whole numbers held as float64, rounded where libjpeg rounds.
    """
    n, channels, height, width = x.shape
    matrix = whole_cosines().to(x)
    table = table.to(x)
    blocks = (x - 128).view(n, channels, height // 8, 8, width // 8, 8).transpose(3, 4)
    found = _descaled(matrix @ _descaled(blocks @ matrix.T, 11), 15)
    found = torch.copysign((found.abs() / (8 * table) + 0.5).floor(), found) * table  # halves away from zero
    back = _descaled(_descaled(matrix.T @ found, 11) @ matrix, 18) + 128
    return back.clamp(0, 255).transpose(3, 4).reshape(x.shape)


def halved(x: Tensor) -> Tensor:
    """Means of two by two levels; halves are rounded down and up in turn, along the row."""
    total = x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]
    bias = 1 + torch.arange(total.shape[3], device=x.device) % 2
    return ((total + bias) / 4).floor()


def upsampled(x: Tensor) -> Tensor:
    """Levels twice as high and wide: three parts of the nearest, one of the next, along each side."""
    n, channels, height, width = x.shape
    above = torch.cat([x[:, :, :1], x[:, :, :-1]], 2)
    below = torch.cat([x[:, :, 1:], x[:, :, -1:]], 2)
    tall = torch.stack([3 * x + above, 3 * x + below], 3).reshape(n, channels, 2 * height, width)
    left = torch.cat([tall[..., :1], tall[..., :-1]], 3)
    right = torch.cat([tall[..., 1:], tall[..., -1:]], 3)
    wide = torch.stack([(3 * tall + left + 8) / 16, (3 * tall + right + 7) / 16], 4)
    return wide.floor().reshape(n, channels, 2 * height, 2 * width)
