"""How page 17 draws a map: the lattice of the old picture where the new one shows it."""

import torch
from matplotlib.axes import Axes
from torch import Tensor

from lib.book import plots
from lib.transforms.conformal import PlaneMap

MAP_NAMES = {
    "moebius": "Moebius",
    "log": "log-conformal",
    "homography": "homography",
    "affine": "affine",
    "tilt": "tilt",
}
LINES = 9
CIRCLES = (-0.5, 0.0, 0.5)


def seen_at(plane_map: PlaneMap, points: Tensor) -> Tensor:
    """Where the new picture, of one map, shows the old one's points (n,)."""
    return plane_map.inverse(points[None, None])[0, 0]


def draw_lattice(axis: Axes, plane_map: PlaneMap, title: str = "") -> None:
    """Lines and circles of the old picture as the new one shows them; x to the right, y down as in a picture."""
    run = torch.linspace(-1, 1, 81, dtype=torch.float64)
    for place in torch.linspace(-1, 1, LINES).tolist():
        still = torch.full_like(run, place)
        for x, y in ((run, still), (still, run)):
            seen = seen_at(plane_map, torch.complex(x, y))
            axis.plot(seen.real, seen.imag, color=plots.BLUE, linewidth=0.7)
    turn = torch.linspace(0, 2 * torch.pi, 61, dtype=torch.float64)
    for across in CIRCLES:
        for down in CIRCLES:
            circle = torch.complex(across + 0.12 * turn.cos(), down + 0.12 * turn.sin())
            seen = seen_at(plane_map, circle)
            axis.plot(seen.real, seen.imag, color=plots.RED, linewidth=1.4)
    axis.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color=plots.BLACK, linestyle=":", linewidth=1)
    axis.set(xlim=(-1.9, 1.9), ylim=(1.9, -1.9), aspect="equal", xticks=[], yticks=[])
    axis.set_title(title, fontsize=9)
    axis.grid(visible=False)
    axis.set_frame_on(False)


def draw_box(axis: Axes, box: Tensor, colour: str = plots.RED, dashes: str = "-") -> None:
    """A box (4,), left, top, right, bottom in pixels, on a picture."""
    left, top, right, bottom = box.tolist()
    axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], dashes, color=colour, linewidth=1.6)
