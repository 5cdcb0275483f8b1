"""Pictures of page 16: a line for each network, and the nineteen corruptions as points with names beside them."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from lib.book import plots
from lib.errors import WorkbookError
from lib.interval import Interval
from lib.studies.robust_ssl.corruption_tables import Errors, formula_relative, hard_ones, share_kept
from lib.studies.robust_ssl.corruptions_page import ALL, PRINTED_AS, printed_kept, printed_relative
from lib.studies.robust_ssl.families import METHODS
from lib.transforms.corruptions import EXTRA, FAMILIES

MARGIN = 0.12  # of an axis, around its points
CORNERS = ((4, 3), (4, -9), (-4, 3), (-4, -9), (4, 11), (-4, 11), (4, -17), (-4, -17))  # points from a mark to its name
LETTER = (5.2, 9.0)  # points that a letter of 9 points takes


def draw_networks(axis: Axes, x: Sequence[float], lines: Mapping[str, Tensor]) -> None:
    """Draw a line for each network: the families in colours, supervised in gray dashes, untrained in gray dots."""
    for name, line in lines.items():
        style = {"color": "0.5", "linestyle": ":" if name == "untrained" else "--", "linewidth": 2.5}
        if name in METHODS:
            turn, index = divmod(METHODS.index(name), len(plots.COLOURS))
            style = {"color": plots.COLOURS[index], "marker": plots.MARKERS[index], "linestyle": ("-", "-.")[turn]}
            style |= {"label": name}
        axis.plot(x, line, **style)


def draw_measures(axes: Sequence[Axes], errors: Errors, classes: int) -> str:
    """Draw each network's errors, its relative mCE and the share it keeps on three axes, with the printed ones.

    Gives in words over which corruptions the second is taken, or why there is none. Legends are labelled.
    """
    for index, (label, each) in enumerate((("corrupted", errors.mean), ("clean", errors.clean))):
        values = [errors.rate(column) for column in each.T]
        plots.dots(axes[0], errors.networks, values, index, 0.24 * index - 0.12, f"our error, {label}")
    plots.dots(axes[2], errors.networks, intervals_of(errors, share_kept(errors, classes)), 2, label="ours")
    try:
        reference = errors.of("supervised")
        plots.dots(axes[1], errors.networks, intervals_of(errors, formula_relative(errors, reference)), 2)
        told = f"over {len(hard_ones(reference))} corruptions"
    except WorkbookError as reason:
        told = str(reason)
    rows = [len(errors.networks) - 1 - errors.networks.index(name) for name in PRINTED_AS]
    for axis, printed in zip(axes[1:], (printed_relative, printed_kept), strict=True):
        values = [printed(name) for name in PRINTED_AS.values()]
        axis.scatter(values, rows, marker="x", color=plots.RED, label="printed" if axis is axes[2] else None, zorder=3)
        axis.set_yticks(range(len(errors.networks)), [])
    return told


def intervals_of(errors: Errors, values: Tensor) -> list[Interval]:
    """The interval of each network's draws (1 + B, networks)."""
    return [errors.interval(column) for column in values.T]


def scatter_corruptions(axis: Axes, across: Tensor, up: Tensor) -> None:
    """Draw the nineteen corruptions (19,), in the book's order, by their ranks: named points, marked by their family.

    Ranks, since correlations of ranks are judged; and so each corruption has a line, and its name, for itself.
    """
    ranks = torch.stack([across, up]).argsort(1).argsort(1) + 1
    for index, (kind, names) in enumerate([*FAMILIES.items(), ("four more", EXTRA)]):
        style = {"color": plots.COLOURS[index], "marker": plots.MARKERS[index]}
        axis.scatter(*ranks[:, [ALL.index(name) for name in names]], label=kind, **style)
    for name, place in zip(ALL, ranks.T.tolist(), strict=True):
        side = 1 if place[0] <= len(ALL) // 2 else -1
        text = {"textcoords": "offset points", "xytext": (5 * side, 0), "va": "center", "fontsize": 9}
        axis.annotate(name.replace("_", " "), place, ha="left" if side > 0 else "right", **text)
    axis.set(xlim=(0, len(ALL) + 1), ylim=(0, len(ALL) + 1), xticks=(1, 5, 10, 15, 19), yticks=(1, 5, 10, 15, 19))


def name_points(axis: Axes, points: Tensor, names: list[str]) -> None:
    """Write a name beside each point (n, 2), in the corner that has the most room left inside the axes."""
    axis.margins(MARGIN)
    low, high = points.amin(0), points.amax(0)
    frame = axis.get_position()
    inches = torch.tensor(axis.figure.get_size_inches()) * torch.tensor([frame.width, frame.height])
    whole = 72 * inches  # in points of print
    places = ((points - low) / (high - low).clamp_min(1e-9) + MARGIN) / (1 + 2 * MARGIN) * whole
    taken = [box_around(place - 3, 6.0, 6.0) for place in places]
    for place, point, name in zip(places, points, names, strict=True):
        boxes = [label_box(place, corner, name) for corner in CORNERS]
        hidden = [sum(overlap(box, other) for other in taken) + outside(box, whole) for box in boxes]
        best = hidden.index(min(hidden))
        taken.append(boxes[best])
        side = "left" if CORNERS[best][0] > 0 else "right"
        text = {"textcoords": "offset points", "xytext": CORNERS[best], "ha": side, "fontsize": 9}
        axis.annotate(name, point.tolist(), **text)


def outside(box: Tensor, whole: Tensor) -> float:
    """The area of a box (left, bottom, right, top) that lies outside of axes of that size (2,)."""
    return float((box[2:] - box[:2]).prod()) - overlap(box, torch.cat([torch.zeros(2), whole]))


def label_box(place: Tensor, corner: tuple[int, int], name: str) -> Tensor:
    """The box (left, bottom, right, top) of a name set at a corner of a point (2,), in points of print."""
    width = LETTER[0] * len(name)
    start = place + torch.tensor([corner[0] - (width if corner[0] < 0 else 0), corner[1]])
    return box_around(start, width, LETTER[1])


def box_around(start: Tensor, width: float, height: float) -> Tensor:
    """A box (left, bottom, right, top) from its lower left corner (2,)."""
    return torch.cat([start, start + torch.tensor([width, height])])


def overlap(one: Tensor, other: Tensor) -> float:
    """The area that two boxes (left, bottom, right, top) share."""
    sides = (torch.minimum(one[2:], other[2:]) - torch.maximum(one[:2], other[:2])).clamp_min(0)
    return float(sides.prod())
