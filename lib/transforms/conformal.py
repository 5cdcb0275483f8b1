"""Maps of the picture's plane: Moebius, log-conformal, and the controls: homography, affine map, a tilted plane.

The plane is z = x + iy with x to the right and y down, both from -1 to 1 at the centres of the outer pixels. A map says
where each point of the new picture reads the old one: `map(z)`; `map.inverse(z)` is where a point of the old picture
goes. Each holds one setting per picture (n,), and takes complex points, (H, W) for all pictures or (n, H, W) of each;
at 0 it is the identity.
Everything is one grid and one interpolation, with crop and mirror composed in (`warp`).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.errors import WorkbookError, choices

BACKGROUNDS = {"black": "zeros", "padded": "border", "mirrored": "reflection"}
NEAREST = 1e-3  # denominators below it are beyond the horizon, and read far outside the picture


class PlaneMap(Protocol):
    """Where points read the old picture, and where points of the old picture go."""

    def __call__(self, z: Tensor) -> Tensor:
        """The points of the old picture that the points z of the new one read."""

    def inverse(self, z: Tensor) -> Tensor:
        """The points of the new picture at which the points z of the old one are seen."""


@dataclass(frozen=True, eq=False)
class Moebius:
    """z / (c z + d): a = 1, b = 0; c (n,) complex, d (n,) real or 1 (Chhipa et al. 2024, MPD)."""

    c: Tensor
    d: Tensor | float = 1.0

    def __call__(self, z: Tensor) -> Tensor:
        """z / (c z + d)."""
        return z / (per_picture(self.c, z) * z + per_picture(self.d, z))

    def inverse(self, z: Tensor) -> Tensor:
        """d z / (1 - c z): the same kind of map with c of the other sign, so labels of direction swap."""
        return per_picture(self.d, z) * z / (1 - per_picture(self.c, z) * z)


@dataclass(frozen=True, eq=False)
class LogConformal:
    """log(1 + k z) / k, k (n,) complex, |k z| < 1: one parameter, and the identity for k -> 0 (LCM).

    Differs from the paper, whose log(k z + c) moves the centre: this is it with c = 1, divided by k.
    """

    k: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """log(1 + k z) / k; the series where k is 0."""
        k = per_picture(self.k, z)
        still = k == 0
        safe = torch.where(still, torch.ones_like(k), k)
        return torch.where(still, z, _log_of_one_and(safe * z) / safe)

    def inverse(self, z: Tensor) -> Tensor:
        """(exp(k z) - 1) / k."""
        k = per_picture(self.k, z)
        still = k == 0
        safe = torch.where(still, torch.ones_like(k), k)
        return torch.where(still, z, (torch.exp(safe * z) - 1) / safe)


def _log_of_one_and(w: Tensor) -> Tensor:
    """log(1 + w) in real parts, exact near 0 and, on a CPU, a tenth of the time of torch's complex logarithm."""
    real, imag = w.real.contiguous(), w.imag.contiguous()
    return torch.complex(torch.log1p(2 * real + real * real + imag * imag) / 2, torch.atan2(imag, 1 + real))


@dataclass(frozen=True, eq=False)
class Homography:
    """z / (1 + Re(c z)): the projective map whose vanishing line is that of Moebius's c; it keeps lines, not angles."""

    c: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """z / (1 + Re(c z))."""
        return z / (1 + (per_picture(self.c, z) * z).real).clamp_min(NEAREST)

    def inverse(self, z: Tensor) -> Tensor:
        """z / (1 - Re(c z))."""
        return z / (1 - (per_picture(self.c, z) * z).real).clamp_min(NEAREST)


@dataclass(frozen=True, eq=False)
class Affine:
    """(x, y) times matrix (n, 2, 2): stretch, shear and turn, the same everywhere."""

    matrix: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        """The matrix times (x, y)."""
        return _linear(self.matrix, z)

    def inverse(self, z: Tensor) -> Tensor:
        """The inverse matrix times (x, y)."""
        return _linear(torch.linalg.inv(self.matrix), z)


def _linear(matrix: Tensor, z: Tensor) -> Tensor:
    parts = [per_picture(matrix[:, i, j], z) for i in (0, 1) for j in (0, 1)]
    return torch.complex(parts[0] * z.real + parts[1] * z.imag, parts[2] * z.real + parts[3] * z.imag)


@dataclass(frozen=True, eq=False)
class Tilt:
    """A plane seen by a pinhole camera after it was turned about an axis in it: true perspective, foreshortening too.

    angle (n,): of the turn, in radians; away (n,): the direction that goes away, in radians from x; distance: of
    the camera from the centre, in half sides of the picture.
    """

    angle: Tensor
    away: Tensor
    distance: float = 2.0

    def __call__(self, z: Tensor) -> Tensor:
        """Where the ray through each point meets the turned plane."""
        turn = _phase(per_picture(self.away, z))
        seen = z * turn.conj()
        cosine, slope = self._parts(z)
        depth = (cosine - slope * seen.real).clamp_min(NEAREST)
        return torch.complex(seen.real / depth, cosine * seen.imag / depth) * turn

    def inverse(self, z: Tensor) -> Tensor:
        """Where a point of the turned plane is seen."""
        turn = _phase(per_picture(self.away, z))
        point = z * turn.conj()
        cosine, slope = self._parts(z)
        depth = (1 + slope * point.real).clamp_min(NEAREST)
        return torch.complex(cosine * point.real / depth, point.imag / depth) * turn

    def _parts(self, z: Tensor) -> tuple[Tensor, Tensor]:
        angle = per_picture(self.angle, z)
        return angle.cos(), angle.sin() / self.distance


def _phase(angle: Tensor) -> Tensor:
    return torch.complex(angle.cos(), angle.sin())


def per_picture(setting: Tensor | float, z: Tensor) -> Tensor:
    """Settings (n,) as (n, 1, 1) to go with points z (H, W) of all pictures or (n, H, W) of each."""
    if not isinstance(setting, Tensor):
        return torch.as_tensor(setting, dtype=z.real.dtype, device=z.device)
    return setting.view(-1, 1, 1)


def plane(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """The points of a picture's pixels, (H, W) complex64."""
    down, across = (torch.linspace(-1, 1, side, device=device) for side in (height, width))
    return torch.complex(across.expand(height, width), down[:, None].expand(height, width))


def crop_plane(box: Tensor, flip: Tensor, height: int, width: int, size: int | None = None) -> Tensor:
    """The points (n, H, W), or (n, size, size), that a resized crop reads, mirrored where `flip` (n,).

    box (n, 4): top, left, height, width in shares of the sides, as `views.random_boxes` draws and `resized_crop` reads.
    """
    return through_crop(plane(size or height, size or width, box.device), box, flip, height, width)


def through_crop(points: Tensor, box: Tensor, flip: Tensor, height: int, width: int) -> Tensor:
    """Where a picture of height by width is read by `points` (h, w) or (n, h, w) of its crops of h by w pixels.

    box and flip are those of `crop_plane`.
    """
    top, left, tall, wide = (side.view(-1, 1, 1) for side in box.unbind(1))
    rows, columns = points.shape[-2:]
    down, across = (
        ((part + 1) * (side - 1) / 2 + 0.5) / side for part, side in ((points.imag, rows), (points.real, columns))
    )
    across = torch.where(flip.view(-1, 1, 1), 1 - across, across)
    x = 2 * ((left + wide * across) * width - 0.5) / (width - 1) - 1
    y = 2 * ((top + tall * down) * height - 0.5) / (height - 1) - 1
    return torch.complex(x, y)


def inside(points: Tensor) -> Tensor:
    """1 where `points` (n, h, w) lie in a picture of h by w pixels, falling to 0 within a pixel: as `warp` to black."""
    rows, columns = points.shape[-2:]
    parts = ((points.real, columns), (points.imag, rows))
    across, down = (((1 - part.abs()) * (side - 1) / 2 + 1).clamp(0, 1) for part, side in parts)
    return across * down


def warp(x: Tensor, points: Tensor, background: str = "black") -> Tensor:
    """Images (n, C, H, W) read at `points` (n, H', W') or (H', W'), linearly, once.

    background: what stands beyond the picture: "black", "padded" (its border repeated) or "mirrored".
    """
    if background not in BACKGROUNDS:
        raise WorkbookError(f"A background is one of {choices(list(BACKGROUNDS))}, not '{background}'.")
    grid = torch.view_as_real(points if points.ndim == 3 else points.expand(len(x), *points.shape)).to(x.dtype)
    return F.grid_sample(x, grid.clamp(-1e4, 1e4), padding_mode=BACKGROUNDS[background], align_corners=True)


def warp_boxes(boxes: Tensor, plane_map: PlaneMap, height: int, width: int) -> Tensor:
    """Boxes (n, m, 4) as left, top, right, bottom in pixels, around what `plane_map` makes of them, cut at the picture.

    The whole rim is carried along, 33 points a side, for a box's straight sides become curves.
    """
    share = torch.linspace(0, 1, 33, device=boxes.device)
    left, top, right, bottom = (side[..., None] for side in boxes.unbind(2))
    across, down = left + (right - left) * share, top + (bottom - top) * share
    x = torch.cat([across, across, left.expand_as(down), right.expand_as(down)], 2)
    y = torch.cat([top.expand_as(across), bottom.expand_as(across), down, down], 2)
    moved = plane_map.inverse(torch.complex(2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1))
    x = ((moved.real + 1) * (width - 1) / 2).clamp(0, width - 1)
    y = ((moved.imag + 1) * (height - 1) / 2).clamp(0, height - 1)
    return torch.stack([x.amin(2), y.amin(2), x.amax(2), y.amax(2)], 2)


def displacement(plane_map: PlaneMap, size: int = 41) -> Tensor:
    """How far a map moves points, root mean square over the square, (n,): the strength by which views are compared."""
    z = plane(size, size)
    return (plane_map(z) - z).abs().square().mean((1, 2)).sqrt()


def as_strong_affine(c: Tensor, direction: Tensor) -> Affine:
    """The affine map of random `direction` (n, 2, 2) that moves points as far, to first order, as Moebius's c (n,).

    Over the square, the mean of |c z^2|^2 is |c|^2 28/45, and that of |E z|^2 a third of E's squared entries.
    """
    unit = direction / direction.flatten(1).norm(dim=1)[:, None, None]
    return Affine(torch.eye(2, device=c.device) + (c.abs() * math.sqrt(28 / 15))[:, None, None] * unit)


def as_strong_homography(c: Tensor) -> Homography:
    """The homography that moves points as far, to first order, as Moebius's c (n,): its own c is sqrt(2) times that."""
    return Homography(c * math.sqrt(2))
