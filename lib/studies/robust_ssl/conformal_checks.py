"""What page 17 checks without a network: angles, boxes, the blur of two interpolations, the cost of a view."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torchvision.transforms import functional as vision

from lib.transforms.augmentations import resized_crop
from lib.transforms.conformal import (
    LogConformal,
    Moebius,
    PlaneMap,
    as_strong_affine,
    as_strong_homography,
    crop_plane,
    plane,
    warp,
    warp_boxes,
)
from lib.transforms.conformal_views import KINDS, ConformalViews, draw_coefficients
from lib.transforms.views import Views

GEOMETRY = Views(jitter_p=0, gray=0, blur=0)  # of a view whose cost is that of its map, crop and mirror alone
NOTHING = Views(crop=(1, 1), flip=0, jitter_p=0, gray=0, blur=0)
Found = dict[str, Tensor]


def maps_of(c: Tensor, seed: int = 0) -> dict[str, PlaneMap]:
    """The four maps of the views at c (n,) complex, equally strong."""
    direction = torch.randn(len(c), 2, 2, generator=Generator().manual_seed(seed))
    maps = {"moebius": Moebius(c), "log": LogConformal(2 * c), "homography": as_strong_homography(c)}
    return maps | {"affine": as_strong_affine(c, direction)}


def stretch(plane_map: PlaneMap, size: int = 21, step: float = 1e-3) -> Tensor:
    """Larger over smaller singular value of the map's Jacobian at size x size points, (n, size, size): 1 keeps angles.

    The Jacobian is taken by central differences, in float64.
    """
    z = 0.95 * plane(size, size).to(torch.complex128)
    columns = [(plane_map(z + way) - plane_map(z - way)) / (2 * step) for way in (step, step * 1j)]
    values = torch.linalg.svdvals(torch.stack([torch.view_as_real(column) for column in columns], -1))
    return values[..., 0] / values[..., 1]


def over_third_order(sizes: Tensor, factor: float = 2.0, size: int = 41) -> Tensor:
    """Mean distance of Moebius's and the log-conformal grid over that of c^2 |z|^3 / 3, for |c| of `sizes` (k,).

    factor: k of the log-conformal map over c; at 2 the maps agree to second order, and the ratio goes to 1 for small c.
    """
    z = plane(size, size).to(torch.complex128)
    c = torch.complex(sizes.double(), torch.zeros_like(sizes.double()))
    apart = (Moebius(c)(z) - LogConformal(factor * c)(z)).abs().mean((1, 2))
    return apart / (sizes.double() ** 2 * (z.abs() ** 3).mean() / 3)


def box_agreement(count: int, seed: int = 0, side: int = 128) -> dict[str, Tensor]:
    """Intersection over union of boxes and what was painted in them, seen through a map, (k,) each.

    "rim": the whole rim is carried along; "corners": only the four corners; "left alone": the box stays where it was.
    Boxes of a sixth to a third of the picture, one a picture, under Moebius maps of |c| in (0.1, 0.3); those of which
    less than a tenth stays in the picture are left out.
    """
    draw = Generator().manual_seed(seed)
    wide, tall = (torch.randint(side // 6, side // 3, (count,), generator=draw) for _ in range(2))
    left, top = ((torch.rand(count, generator=draw) * (side - size)).long() for size in (wide, tall))
    edges = torch.stack([left, top, left + wide - 1, top + tall - 1], 1)
    x = torch.zeros(count, 1, side, side)
    for row, (first, above, last, below) in enumerate(edges.tolist()):
        x[row, 0, above : below + 1, first : last + 1] = 1
    c = draw_coefficients(count, (0.1, 0.3), draw)
    seen = warp(x, Moebius(c)(plane(side, side)))[:, 0] > 0.5
    boxes = edges.float() + torch.tensor([-0.5, -0.5, 0.5, 0.5])  # paint reaches half a pixel beyond its centres
    kept = seen.sum((1, 2)) > 0.1 * wide * tall
    painted = torch.stack([_extent(mask) for mask in seen[kept]])
    moved = warp_boxes(boxes[:, None], Moebius(c), side, side)[:, 0]
    found = {"rim": moved, "corners": _corners(boxes, c, side), "left alone": boxes}
    return {name: _overlap(part[kept], painted) for name, part in found.items()}


def _extent(mask: Tensor) -> Tensor:
    rows, columns = mask.nonzero().unbind(1)
    return torch.stack([columns.min() - 0.5, rows.min() - 0.5, columns.max() + 0.5, rows.max() + 0.5]).clamp_min(0)


def _corners(boxes: Tensor, c: Tensor, side: int) -> Tensor:
    left, top, right, bottom = (2 * boxes / (side - 1) - 1).unbind(1)
    corners = torch.complex(torch.stack([left, right, left, right], 1), torch.stack([top, top, bottom, bottom], 1))
    moved = Moebius(c).inverse(corners[:, :, None])[:, :, 0]
    x, y = (((part + 1) * (side - 1) / 2).clamp(0, side - 1) for part in (moved.real, moved.imag))
    return torch.stack([x.amin(1), y.amin(1), x.amax(1), y.amax(1)], 1)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    inner = (high - low).clamp_min(0).prod(1)
    whole = sum((part[:, 2:] - part[:, :2]).prod(1) for part in (one, other))
    return (inner / (whole - inner)).double()


def one_or_two(side: int = 64, count: int = 32, seed: int = 0) -> Found:
    """Contrast (standard deviation) that white noise keeps, (count,): "once", map and crop in one grid, and "twice"."""
    draw = Generator().manual_seed(seed)
    x = torch.rand(count, 1, side, side, generator=draw)
    box = torch.tensor([0.2, 0.2, 0.6, 0.6]).expand(count, 4)
    flip = torch.arange(count) % 2 == 0
    moebius = Moebius(draw_coefficients(count, (0.1, 0.3), draw))
    once = warp(x, moebius(crop_plane(box, flip, side, side)), "padded")
    twice = resized_crop(warp(x, moebius(plane(side, side)), "padded"), box, flip)
    return {"once": once.std((1, 2, 3)), "twice": twice.std((1, 2, 3))}


def view_costs(rounds: int, count: int = 128, side: int = 32) -> Found:
    """Microseconds an image of each kind of view, map, crop and mirror alone, (rounds,); each round starts elsewhere.

    "two steps": Moebius's map and then the crop; "torchvision": its perspective map alone, one picture at a time.
    """
    draw = Generator().manual_seed(0)
    x = torch.rand(count, 3, side, side, generator=draw)
    corners = [[0, 0], [side - 1, 0], [side - 1, side - 1], [0, side - 1]]
    moved = [[3, 2], [side - 4, 0], [side - 1, side - 5], [0, side - 2]]
    alone = ConformalViews("moebius", 1.0, views=NOTHING)
    kinds = {kind: ConformalViews(kind, 1.0, views=GEOMETRY) for kind in KINDS}
    works: dict[str, Callable[[], object]] = {kind: lambda v=views: v(x, draw) for kind, views in kinds.items()}
    works["plain crop"] = lambda: GEOMETRY(x, draw)
    works["two steps"] = lambda: GEOMETRY(alone(x, draw), draw)
    works["torchvision"] = lambda: [vision.perspective(image, corners, moved) for image in x]
    return {name: torch.tensor(taken, dtype=torch.float64) for name, taken in _in_turn(works, rounds, count).items()}


def map_costs(rounds: int, count: int = 128, side: int = 32) -> Found:
    """Microseconds an image of the maps alone, (rounds,): "moebius", "log", and "log, torch" by torch's logarithm."""
    points = plane(side, side).expand(count, side, side).contiguous()
    c = draw_coefficients(count, (0.1, 0.3), Generator().manual_seed(0))
    k = (2 * c).view(-1, 1, 1)
    works = {
        "moebius": lambda: Moebius(c)(points),
        "log": lambda: LogConformal(2 * c)(points),
        "log, torch": lambda: torch.log(1 + k * points) / k,
    }
    return {name: torch.tensor(taken, dtype=torch.float64) for name, taken in _in_turn(works, rounds, count).items()}


def _in_turn(works: dict[str, Callable[[], object]], rounds: int, count: int) -> dict[str, list[float]]:
    """Microseconds an image of each work, round by round, of the processor time of one thread."""
    names, taken = list(works), {name: [] for name in works}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # then other work on the machine disturbs the clock least
    try:
        for turn in range(-1, rounds):  # the first round warms up
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                begun = time.process_time()
                works[name]()
                if turn >= 0:
                    taken[name].append(1e6 * (time.process_time() - begun) / count)
    finally:
        torch.set_num_threads(threads)
    return taken


def median_ratio(above: Tensor, below: Tensor) -> float:
    """Median over the rounds (rounds,) of one work's time over another's, round by round."""
    return statistics.median((above / below).tolist())
