"""The shape of procedural faces: named lengths, a height field, and the map from image to face coordinates.

Face coordinates (u, v) are pixels of the frontal 112x112 crop, u to the right of the midline and v below the eye line;
z is towards the viewer. Everything is drawn in (u, v), so a feature keeps its place on the head when the head turns.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from lib.data.procedural_faces.parameters import ACTION_UNITS, IDENTITY, FaceParameters

CENTRE = (55.9, 51.6)  # the crop's pixel where (u, v) = (0, 0) falls on a frontal face
PIVOT = (0.0, 20.0, 34.0)  # (u, v, z) that stays in place when the head turns: the middle of the landmarks
DEPTH = 36.0  # height of the middle of the face above its outline, in pixels
WIDEST = 4.0  # v where the head is widest
CRANIUM = 53.0  # from there to the top of the head


def bump(x: Tensor, y: Tensor, half_x: float | Tensor, half_y: float | Tensor) -> Tensor:
    """A Gaussian hill of height 1 at the origin with the given half widths."""
    return torch.exp(-((x / half_x).square() + (y / half_y).square()))


def face_shape(faces: FaceParameters) -> SimpleNamespace:
    """The identity's lengths as its expression moves them; each attribute is (n, 1, 1), in pixels unless a ratio.

    The units stay on the attribute `au`, a dictionary from FACS number to (n, 1, 1).
    """
    mean, half = torch.tensor(list(IDENTITY.values())).T
    lengths = (mean + half * faces.identity)[..., None, None].unbind(1)
    g = SimpleNamespace(**dict(zip(IDENTITY, lengths, strict=True)))
    au = g.au = dict(zip(ACTION_UNITS, faces.action_units[..., None, None].unbind(1), strict=True))
    g.jaw_drop = 6 * au[26]
    g.face_length = g.face_length + g.jaw_drop
    _move_eyes(g, au)
    _move_mouth(g, au)
    return g


def _move_eyes(g: SimpleNamespace, au: dict[int, Tensor]) -> None:
    """Lids: the upper one falls to meet the lower when the eyes close (AU43), which AU5-7 widen or narrow."""
    closed = 1 - au[43]
    g.lid_lower = g.eye_opening * (0.62 - 0.3 * au[6] - 0.22 * au[7] - 0.15 * au[9]).clamp(min=0.1)
    wide = g.eye_opening * (0.95 + 0.5 * au[5] - 0.28 * au[7] - 0.12 * au[9] - 0.1 * au[6])
    g.lid_upper = wide * closed - g.lid_lower * au[43]


def _move_mouth(g: SimpleNamespace, au: dict[int, Tensor]) -> None:
    """Corners, opening and lips. `corner` is how far below the middle the corners lie (negative when smiling)."""
    g.mouth_half = g.mouth_width + 3.2 * au[12] + 4 * au[20] - 2 * au[23] - 1.8 * au[26] - 0.8 * au[17]
    g.mouth_line = g.mouth_height + 1.2 * au[12] - 1.6 * au[17] - 1.2 * au[9] + 1.0 * au[26]
    g.corner = -6.0 * au[12] + 5.0 * au[15] + 1.0 * au[20] - 0.4
    gap = 3.0 * au[25] * (1 + 0.9 * au[12] + 0.5 * au[20]) + 10.5 * au[26]
    g.gap_upper = 0.2 * gap
    g.gap_lower = 0.8 * gap
    thin = 1 - 0.2 * au[12] - 0.25 * au[20] - 0.55 * au[23] - 0.15 * au[9]
    g.upper_lip = g.upper_lip * thin * (1 - 0.25 * au[17])
    g.lower_lip = g.lower_lip * thin * (1 + 0.15 * au[17])


def radius(u: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """Distance from the head's centre in units of its outline: below 1 on the head, 1 on the outline."""
    below = (v - WIDEST).clamp(min=0) / (g.face_length - WIDEST)
    width = g.face_width * (1 - g.jaw_taper * below * below.clamp(max=1)) + 30 * g.cheek_fullness * bump(
        below - 0.4, below - 0.4, 0.4, 0.4
    )
    x = (u / width).square()
    y = torch.where(v < WIDEST, ((v - WIDEST) / CRANIUM).square(), below.square())
    ellipse = (x + y).sqrt()
    square = (x.square() + y.square()).sqrt().sqrt()
    return torch.lerp(ellipse, square, torch.where(v < WIDEST, 0.35, g.jaw_square))


def nose(u: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """Height of the nose: a bridge that rises and widens towards the tip, and stops below it."""
    along = (v / g.nose_length).clamp(0, 1.3)
    side = torch.exp(-(u / (g.nose_bridge + (0.62 * g.nose_width - g.nose_bridge + 1) * along * along)).square())
    end = torch.sigmoid((g.nose_length + 1.5 - v) / 1.6) * torch.sigmoid((v + 5) / 2.5)
    return g.nose_height * side * end * (0.12 + 0.88 * along)


def head(rho: Tensor) -> Tensor:
    """Height of the plain head at `radius` rho: a dome, continued by its slope a little outside the outline."""
    inner = rho.clamp(max=1).square()
    return DEPTH * (1 - inner * (0.42 + 0.22 * inner) - 1.72 * (rho.clamp(1, 1.6) - 1))


def details(u: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """What stands out from the head besides the nose: sockets, brow ridge, cheeks, muzzle, chin, nostril wings."""
    x = u.abs()
    au = g.au
    sockets = -g.eye_depth * bump(x - g.eye_spacing + 2, v + 2, 10.0, 6.5)
    ridge = (0.6 + 0.35 * g.eye_depth) * bump(x - 13, v + g.brow_height + 1, 14.0, 5.0)
    cheeks = (1.5 + 20 * g.cheek_fullness + 1.6 * au[6] + 1.4 * au[12]) * bump(
        x - g.eye_spacing - 4, v - 21 + 3 * au[6], 11.0, 9.0
    )
    wings = 0.42 * g.nose_width * bump(x - 0.86 * g.nose_width, v - g.nose_length + 0.5 + au[9], 2.6, 2.8)
    muzzle = 3.0 * bump(u, v - g.mouth_line, 1.05 * g.mouth_half, 10.0)
    chin = (g.chin_size + 1.5 * au[17]) * bump(u, v - g.face_length + 8, 8.0, 5.0)
    return sockets + ridge + cheeks + wings + muzzle + chin


def rotation(pose: Tensor) -> Tensor:
    """Rotation matrices (n, 3, 3) of poses (n, 3) in degrees: pitch first, then yaw, then roll."""
    (sy, sp, sr) = torch.deg2rad(pose).sin().T
    (cy, cp, cr) = torch.deg2rad(pose).cos().T
    rows = (
        (cr * cy, cr * sy * -sp - sr * cp, cr * sy * cp - sr * sp),
        (sr * cy, sr * sy * -sp + cr * cp, sr * sy * cp + cr * sp),
        (-sy, -cy * sp, cy * cp),
    )
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def image_grid(faces: FaceParameters, size: int) -> tuple[Tensor, Tensor]:
    """Each pixel's place (n, size, size) relative to the pivot, in pixels of the 112 crop, misalignment undone."""
    ticks = (torch.arange(size) + 0.5) * (112 / size) - 0.5
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    shift_x, shift_y, scale = faces.scene[:, 4:, None, None].unbind(1)
    shrink = torch.exp(-scale)
    return (x - CENTRE[0] - PIVOT[0] - shift_x) * shrink, (y - CENTRE[1] - PIVOT[1] - shift_y) * shrink


def unproject(x: Tensor, y: Tensor, z: float | Tensor, turn: Tensor) -> tuple[Tensor, Tensor]:
    """Face coordinates (u, v) of the image points (x, y), (n, h, w), if they lie at height z, for rotations (n, 3, 3).

    Solves the two rows of x = R (p - pivot) that orthographic projection keeps.
    """
    (a, b, c), (d, e, f) = (turn[:, row, :, None, None].unbind(1) for row in (0, 1))
    x = x - c * (z - PIVOT[2])
    y = y - f * (z - PIVOT[2])
    scale = 1 / (a * e - b * d)
    return (e * x - b * y) * scale + PIVOT[0], (a * y - d * x) * scale + PIVOT[1]


def surface(x: Tensor, y: Tensor, g: SimpleNamespace, turn: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where each image point meets the head: (u, v, z, rho), each (n, h, w).

    The only unknown is z: a point at height z is seen at (x, y), and the height field there must be z. Secant steps
    solve height(z) - z = 0, whose slope stays negative because the head has no overhangs up to 25 degrees of yaw.
    """
    u, v = unproject(x, y, PIVOT[2], turn)
    z = head(radius(u, v, g)) + nose(u, v, g)
    step = z - PIVOT[2]
    miss = step
    for _ in range(2):
        u, v = unproject(x, y, z, turn)
        last = miss
        miss = head(radius(u, v, g)) + nose(u, v, g) - z
        slope = ((miss - last) / torch.where(step.abs() < 1e-3, 1e-3, step)).clamp(-2.5, -0.3)
        step = -miss / slope
        z = z + step
    u, v = unproject(x, y, z, turn)
    rho = radius(u, v, g)
    return u, v, head(rho) + nose(u, v, g) + details(u, v, g), rho


def normals(u: Tensor, v: Tensor, z: Tensor, turn: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Unit normals (three of (n, h, w)) in the camera's frame, from the depth seen at neighbouring pixels."""
    r = turn[:, 2, :, None, None].unbind(1)
    depth = r[0] * u + r[1] * v + r[2] * z
    down, across = torch.gradient(depth, spacing=step, dim=(1, 2))
    length = (1 + down.square() + across.square()).rsqrt()
    return -across * length, -down * length, length
