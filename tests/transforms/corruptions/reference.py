"""The published code of single corruptions, one picture at a time, with the random numbers handed over.

After Hendrycks and Dietterich's scripts for CIFAR-10-C and Tiny-ImageNet-C, in numpy and scipy, float64.
"""

import math

import numpy as np
from scipy import ndimage


def blurred(x, sigma, mode="nearest", truncate=4.0):
    """skimage.filters.gaussian of (H, W) or (H, W, C)."""
    sigmas = (sigma, sigma, 0)[: x.ndim]
    return ndimage.gaussian_filter(x, sigmas, mode=mode, truncate=truncate)


def clipped_zoom(x, factor):
    """The middle of (H, W), enlarged."""
    side = x.shape[0]
    crop = math.ceil(side / factor)
    top = (side - crop) // 2
    large = ndimage.zoom(x[top : top + crop, top : top + crop], factor, order=1)
    trim = (large.shape[0] - side) // 2
    return large[trim : trim + side, trim : trim + side]


def shifted(x, dx, dy):
    """(H, W) moved, the border repeated."""
    rows = (np.arange(x.shape[0]) - dy).clip(0, x.shape[0] - 1)
    columns = (np.arange(x.shape[1]) - dx).clip(0, x.shape[1] - 1)
    return x[rows][:, columns]


def motion(x, radius, sigma, angle):
    """imagecorruptions' motion blur of (H, W)."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    out = np.zeros(x.shape)
    for i, weight in enumerate(weights):
        dy = -math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        dx = -math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        if abs(dy) >= x.shape[0] or abs(dx) >= x.shape[1]:
            break
        out += weight * shifted(x, dx, dy)
    return out


def shuffled(x, moves, reach):
    """The published loop of glass blur on bytes (H, W, C), its failed swap as it is; moves (2, H, W)."""
    for h in range(x.shape[0] - reach, reach, -1):
        for w in range(x.shape[1] - reach, reach, -1):
            a, b = h + moves[0, h, w], w + moves[1, h, w]
            x[h, w], x[a, b] = x[a, b], x[h, w]
    return x


def plasma(side, decay, draw):
    """Diamond and square on a torus, with `draw(low, high, shape)`."""
    field, step, wobble = np.zeros((side, side)), side, 100.0

    def moved(total):
        return total / 4 + wobble * draw(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corner = field[::step, ::step]
        total = corner + np.roll(corner, -1, axis=0)
        total += np.roll(total, -1, axis=1)
        field[half::step, half::step] = moved(total)
        middle, corner = field[half::step, half::step], field[::step, ::step]
        field[::step, half::step] = moved(middle + np.roll(middle, 1, 0) + corner + np.roll(corner, -1, 1))
        field[half::step, ::step] = moved(middle + np.roll(middle, 1, 1) + corner + np.roll(corner, -1, 0))
        step, wobble = half, wobble / decay
    field -= field.min()
    return field / field.max()


def snow(x, constants, noise, angle):
    """(H, W, 3) in [0,1] under snow; noise (H, W) standard normal."""
    mean, spread, grain, least, radius, sigma, kept = constants
    layer = clipped_zoom(mean + spread * noise, grain)
    layer[layer < least] = 0
    layer = np.floor(layer.clip(0, 1) * 255 + 1e-3) / 255
    layer = np.round(motion(layer, radius, sigma, angle) * 255)[..., None] / 255
    gray = (x * [0.299, 0.587, 0.114]).sum(2, keepdims=True)
    pale = kept * x + (1 - kept) * np.maximum(x, gray * 1.5 + 0.5)
    return (pale + layer + np.rot90(layer, 2)).clip(0, 1)


def displaced(x, dx, dy):
    """(H, W, 3) read at the displaced places; beyond the border behind its pixels."""
    rows, columns, channels = np.meshgrid(*(np.arange(side) for side in x.shape), indexing="ij")
    places = [rows + dy[..., None], columns + dx[..., None], channels]
    return ndimage.map_coordinates(x, places, order=1, mode="reflect")


def affine(x, targets):
    """(H, W, 3) after the affine map that moves three corners (x, y) to `targets`, mirrored at its border pixels."""
    side = x.shape[0]
    third, centre = side // 3, side // 2
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * third + centre
    matrix = np.linalg.solve(np.c_[targets, np.ones(3)], corners)  # from the new place to the old
    columns, rows = np.meshgrid(np.arange(side), np.arange(side))
    places = np.stack([columns, rows, np.ones_like(rows)], -1) @ matrix
    parts = [
        ndimage.map_coordinates(x[..., i], [places[..., 1], places[..., 0]], order=1, mode="mirror") for i in range(3)
    ]
    return np.stack(parts, -1)


def mud(x, constants, noise):
    """(H, W, 3) in [0,1] under mud; noise (H, W)."""
    mean, spread, sigma, least, rim, _ = constants
    layer = blurred(mean + spread * noise, sigma)
    cover = blurred((layer > least).astype(float), rim)
    cover[cover < 0.8] = 0
    return x * (1 - cover[..., None]) + cover[..., None] * np.array([63, 42, 20]) / 255
