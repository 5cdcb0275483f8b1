"""The layers of a procedural face in face coordinates: skin with its folds, eyes, brows, nostrils, mouth.

Every function works on maps (n, h, w) of u and v and on the lengths `g` of `face_geometry.face_shape`.
"""

from types import SimpleNamespace

import torch
from torch import Tensor

from lib.data.procedural_faces.geometry import bump
from lib.data.procedural_faces.parameters import FaceParameters

SKIN_RAMP = ((0.42, 0.27, 0.19), (0.78, 0.56, 0.43), (0.97, 0.80, 0.70))
IRIS_RAMP = ((0.22, 0.12, 0.07), (0.40, 0.37, 0.18), (0.33, 0.50, 0.66))
HAIR_RAMP = ((0.08, 0.07, 0.07), (0.31, 0.19, 0.11), (0.85, 0.69, 0.44))


def paint(image: Tensor, colour: Tensor, opacity: Tensor) -> None:
    """Lay `colour` (n, 3, 1, 1) or (n, 3, h, w) over `image` (n, 3, h, w) in place, by `opacity` (n, h, w)."""
    image.lerp_(colour.expand_as(image), opacity[:, None].expand_as(image))


def cover(distance: Tensor, soft: float | Tensor = 1.0) -> Tensor:
    """Opacity from a signed distance in pixels: 1 inside, 0 outside, a ramp `soft` pixels wide between."""
    return (distance / soft + 0.5).clamp(0, 1)


def ramp(x: Tensor, stops: tuple) -> Tensor:
    """Colours (n, 3, 1, 1) along a three-stop scale for x (n,) in [-1, 1]."""
    low, middle, high = (torch.tensor(stop) for stop in stops)
    x = x[:, None]
    return (middle + (high - middle) * x.clamp(min=0) - (low - middle) * x.clamp(max=0))[..., None, None]


def rgb(red: float, green: float, blue: float) -> Tensor:
    """One colour as (1, 3, 1, 1)."""
    return torch.tensor((red, green, blue)).reshape(1, 3, 1, 1)


def face_colours(faces: FaceParameters, g: SimpleNamespace) -> SimpleNamespace:
    """Skin, lip, brow, hair and iris colours, each (n, 3, 1, 1)."""
    tone, redness = faces.skin.unbind(1)
    skin = ramp(tone, SKIN_RAMP) * (1 + redness[:, None, None, None] * rgb(0.015, -0.035, -0.045))
    hair = ramp(faces.hair[:, 1], HAIR_RAMP) * (1 + faces.hair[:, 2, None, None, None] * rgb(0.12, -0.06, -0.15))
    brows = g.brow_colour[:, None]
    lips = 0.15 + 0.6 * g.lip_colour[:, None]
    return SimpleNamespace(
        skin=skin,
        lip=skin * (1 - lips) + lips * rgb(0.68, 0.16, 0.22),
        brow=(1 - brows) * (0.5 * hair + 0.35 * skin) + brows * rgb(0.10, 0.07, 0.06),
        hair=hair,
        iris=ramp(g.iris_colour.flatten(), IRIS_RAMP),
    )


def skin(u: Tensor, v: Tensor, g: SimpleNamespace, colours: SimpleNamespace) -> Tensor:
    """Skin (n, 3, h, w): blush on cheeks, nose and ears' side, then folds, freckles and a mole that darken it."""
    x = u.abs()
    blush = 0.16 * bump(x - g.eye_spacing - 4, v - 20, 10.0, 8.0) + 0.12 * bump(u, v - g.nose_length + 2, 7.0, 5.0)
    dark = _folds(u, x, v, g) + _marks(u, v, g)
    return colours.skin * (1 - dark[:, None] * rgb(0.72, 0.95, 1.0) - blush[:, None] * rgb(0.02, 0.75, 0.65))


def _folds(u: Tensor, x: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """Darkening (n, h, w) of the wrinkles that age and each action unit draw."""
    au = g.au
    brow = (0.3 * (au[1] + au[2]) / 2 + 0.1 * g.age) * torch.cos(1.35 * v + 0.004 * u * u).clamp(min=0)
    folds = brow * bump(u, v + g.brow_height + 11, 19.0, 6.5)
    folds += (0.42 * au[4] + 0.12 * au[9]) * bump(x - 2.4, v + 0.55 * g.brow_height, 1.2, 4.5)
    folds += 0.4 * au[9] * torch.cos(1.5 * v).clamp(min=0) * bump(u, v - 3, 5.5, 5.5)
    crow = torch.cos(1.5 * (v - 0.1 * x)).clamp(min=0)
    folds += (0.4 * au[6] + 0.08 * g.age) * crow * bump(x - g.eye_spacing - g.eye_width - 4, v, 3.0, 4.0)
    bag = 0.1 + 0.16 * g.age + 0.2 * au[6] + 0.1 * au[7]
    folds += bag * bump(x - g.eye_spacing + 1, v - g.lid_lower - 2.6, g.eye_width, 1.3)
    folds += _nasolabial(x, v, g)
    folds += (0.06 + 0.25 * au[15]) * bump(x - g.mouth_half - 1, v - g.mouth_line - g.corner - 2.0, 1.4, 3.0)
    chin = v - g.mouth_line - g.gap_lower - g.lower_lip - 3.0
    return folds + (0.16 + 0.25 * au[17]) * bump(u, chin, 0.6 * g.mouth_half, 1.7)


def _nasolabial(x: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """The fold from the nose's wing to the corner of the mouth; smiling and wrinkling the nose deepen it."""
    au = g.au
    depth = 0.05 + 0.13 * g.age + 0.2 * au[12] + 0.2 * au[9] + 0.1 * au[20] + 0.08 * au[15]
    top = g.nose_length - 2 - 1.5 * au[9]
    along = (v - top) / (g.mouth_line + 0.7 * g.corner - top)
    path = g.nose_width + 2.5 + (g.mouth_half + 2.5 - g.nose_width) * along * (1.5 - 0.5 * along)
    return depth * torch.exp(-((x - path) / 1.9).square() - (1.9 * along - 0.95).square().square())


def _marks(u: Tensor, v: Tensor, g: SimpleNamespace) -> Tensor:
    """Freckles (a pattern fixed to the person's skin) and one mole, both part of the identity."""
    a = 1.9 + 0.02 * g.mole_x
    b = 2.1 + 0.02 * g.mole_y
    pattern = torch.sin(a * u + 1.3 * v) * torch.sin(b * v - 0.9 * u)
    freckles = 0.5 * g.freckles.clamp(min=0) * (pattern - 0.55).clamp(min=0) * bump(u, v - 14, 27.0, 11.0)
    return freckles + 0.6 * bump(u - g.mole_x, v - g.mole_y, 1.4, 1.4)


def paint_eyes(image: Tensor, u: Tensor, v: Tensor, g: SimpleNamespace, colours: SimpleNamespace, soft: float) -> None:
    """Sclera, iris, pupil, highlight and lids, both eyes at once by mirror symmetry; then the brows."""
    x = u.abs() - g.eye_spacing
    y = v + g.eye_tilt * x
    profile = 1 - (x / g.eye_width).square()
    upper = y + g.lid_upper * profile
    lower = g.lid_lower * profile - y  # signed distances to both lids
    open_ = cover(torch.minimum(upper, lower), soft) * (1 - g.au[43])
    r2 = x.square() + (y + 0.5).square()
    distance = r2.sqrt()
    paint(image, rgb(0.93, 0.91, 0.89) - 0.28 * torch.exp(-upper.clamp(min=0) / 1.4)[:, None], open_)
    paint(image, colours.iris * (0.62 + 0.11 * distance)[:, None], open_ * cover(3.7 - distance, soft))
    paint(image, rgb(0.04, 0.03, 0.03), open_ * cover(1.6 - distance, soft))
    paint(image, rgb(1.0, 1.0, 1.0), open_ * cover(1.15 - ((x * u.sign() - 1.2).square() + (y + 1.9).square()).sqrt()))
    ends = cover(1.06 * g.eye_width - x.abs(), 2.0)
    paint(image, 0.35 * colours.skin * rgb(0.8, 0.7, 0.7), 0.95 * ends * torch.exp(-((upper + 0.2) / 0.95).square()))
    paint(image, 0.62 * colours.skin, 0.4 * ends * torch.exp(-(lower / 0.8).square()))
    crease = upper + 2.4 - 0.8 * g.au[43]
    paint(image, 0.62 * colours.skin, 0.5 * ends * torch.exp(-(crease / 0.9).square()))
    _paint_brows(image, x, v, g, colours, soft)


def _paint_brows(
    image: Tensor, x: Tensor, v: Tensor, g: SimpleNamespace, colours: SimpleNamespace, soft: float
) -> None:
    """A tapered arch; AU1 lifts its inner end, AU2 its outer end, AU4 lowers it and draws it to the midline."""
    au = g.au
    x = x + 1.8 * au[4]
    outer = torch.sigmoid(x / 2.5)
    lift = 4.2 * au[1] * (1 - outer) + 3.6 * au[2] * outer - au[4] * (3.6 - 1.6 * outer) - 1.0 * au[9] + 0.8 * au[5]
    line = -g.brow_height - g.brow_arch * (1 - ((x - 2.5) / 10).square()) - lift - g.brow_tilt * x
    thickness = g.brow_thickness * (1.05 - 0.045 * (x + 9).clamp(min=0))
    body = cover(thickness - (v - line).abs(), 1.3 * soft)
    strands = 0.88 + 0.12 * torch.sin(1.5 * x + 0.8 * v)
    paint(image, colours.brow, body * strands * cover(11.0 - (x - 1.0).abs(), 3.0))


def paint_mouth(image: Tensor, u: Tensor, v: Tensor, g: SimpleNamespace, colours: SimpleNamespace, soft: float) -> None:
    """Nostrils, lips and, between the lips, the dark mouth with teeth and tongue."""
    x = u.abs()
    wing = bump(x - 0.48 * g.nose_width, v - g.nose_length - 1.4 + g.au[9], 0.27 * g.nose_width + 0.5, 1.6)
    paint(image, 0.28 * colours.skin, 0.85 * wing)
    across = u / g.mouth_half
    arch = (1 - across.square()).clamp(min=0)
    root = arch.sqrt()
    line = g.mouth_line + g.corner * (across.square().clamp(max=1.2) - 0.35)
    top = v - line + g.gap_upper * root
    bottom = line + g.gap_lower * root - v  # positive inside the opening
    ends = cover((1 - across.abs()) * g.mouth_half, 1.5 * soft)
    bow = (0.5 * root + 0.5 * arch) * (1 - g.cupid_bow * torch.exp(-(u / 2.3).square()))
    paint(image, 0.86 * colours.lip, ends * cover(torch.minimum(top + g.upper_lip * bow, -top), soft))
    gloss = (1.02 - 0.09 * (v - line - g.gap_lower).abs())[:, None]
    paint(image, colours.lip * gloss, ends * cover(torch.minimum(bottom + g.lower_lip * root, -bottom), soft))
    inside = ends * cover(torch.minimum(top, bottom) + 0.15, soft)
    paint(image, rgb(0.22, 0.06, 0.06), inside)
    tongue = cover(4.0 - bottom, 3.0) * cover(0.62 - across.abs(), 0.3) * cover(g.gap_lower - 5.0, 2.0)
    paint(image, rgb(0.70, 0.33, 0.33), 0.8 * inside * tongue)
    teeth = cover(3.9 - top, soft) * cover(top - 0.2, soft) * cover(0.86 - across.abs(), 0.2) * cover(g.gap_lower - 1.0)
    paint(image, rgb(0.93, 0.91, 0.86), inside * teeth)
    corners = bump(x - g.mouth_half, v - g.mouth_line - 0.65 * g.corner, 1.5, 1.2)
    paint(image, 0.5 * colours.skin, 0.55 * corners)
