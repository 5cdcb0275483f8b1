"""The hair of procedural faces: styles, contour, hairline, strands and beard, in face coordinates."""

from types import SimpleNamespace

import torch
from torch import Tensor

from lib.data.procedural_faces.geometry import CRANIUM, WIDEST
from lib.data.procedural_faces.layers import cover
from lib.data.procedural_faces.parameters import HAIR_STYLES, FaceParameters

STYLES = {  # volume, how far the hairline is lowered, v where the sides end, power of the hairline's fall, waviness
    "shaved": (0.0, 0.0, 2.0, 4.0, 0.0),
    "crop": (0.04, 0.0, 4.0, 5.0, 0.3),
    "short": (0.12, 2.0, 8.0, 6.0, 0.8),
    "fringe": (0.13, 13.0, 14.0, 9.0, 1.0),
    "bob": (0.16, 3.0, 44.0, 7.0, 0.4),
    "long": (0.17, 0.0, 95.0, 6.0, 0.8),
    "curly": (0.26, 3.0, 24.0, 6.0, 3.0),
}


def hair_shape(faces: FaceParameters) -> SimpleNamespace:
    """The lengths of each face's hair style, (n, 1, 1) each."""
    table = torch.tensor([STYLES[name] for name in HAIR_STYLES])[faces.hair[:, 0].long()]
    volume, lowered, end, power, wave = table[..., None, None].unbind(1)
    parting, beard = faces.hair[:, 3:, None, None].unbind(1)
    opacity = torch.where(faces.hair[:, 0, None, None] == 0, 0.45, 1.0)
    return SimpleNamespace(
        volume=volume, lowered=lowered, end=end, power=power, wave=wave, parting=parting, beard=beard, opacity=opacity
    )


def hair_outside(u: Tensor, v: Tensor, g: SimpleNamespace, hair: SimpleNamespace) -> Tensor:
    """Signed distance in pixels to the outer contour of the hair, positive inside."""
    half = g.face_width * (1.01 + hair.volume) + 0.06 * (v.clamp(min=0) * hair.volume / 0.17).clamp(max=8)
    above = (v - WIDEST).clamp(max=0) / (CRANIUM * (1 + 0.6 * hair.volume))
    wobble = hair.wave * (0.6 * torch.sin(0.55 * v + 0.2 * u) + 0.4 * torch.sin(0.5 * u - 0.25 * v))
    x = (u / half).square()
    y = above.square()
    rho = torch.lerp((x + y).sqrt(), (x.square() + y.square()).sqrt().sqrt(), 0.35)  # the head's own contour
    return (1 - rho) * half + wobble


def hair_front(u: Tensor, v: Tensor, g: SimpleNamespace, hair: SimpleNamespace, soft: float) -> Tensor:
    """Opacity (n, h, w) of the hair in front: above the hairline, which falls along the temples."""
    side = (u.abs() / g.face_width).clamp(max=1)
    fall = torch.exp(torch.log(side.clamp(min=1e-3)) * hair.power)
    part = 5 * hair.parting * (u / g.face_width) * (hair.volume > 0.1)
    fringe = 0.1 * hair.lowered * torch.sin(0.5 * u + 2 * hair.parting)
    line = hair.lowered - g.hairline + part + fringe + (hair.end + g.hairline - hair.lowered) * fall
    locks = 0.35 * hair.wave * (torch.sin(0.8 * u + 1) + 0.7 * torch.sin(1.43 * u))
    above = cover(line - v + locks, 3.0)
    return above * cover(hair_outside(u, v, g, hair), soft) * hair.opacity


def strands(u: Tensor, v: Tensor, hair: SimpleNamespace, colours: SimpleNamespace) -> Tensor:
    """Hair colour (n, 3, h, w): fine streaks that run down from the parting, curls where the style waves."""
    flow = (u - 12 * hair.parting) * (0.85 - 0.008 * v)
    curl = hair.wave * torch.sin(0.4 * v + 0.3 * u)
    streaks = 0.09 * torch.sin(flow + curl) + 0.07 * torch.sin(1.7 * flow + 0.3 * v - curl)
    return colours.hair * (1 + streaks)[:, None]


def beard(u: Tensor, v: Tensor, g: SimpleNamespace, hair: SimpleNamespace) -> Tensor:
    """Opacity (n, h, w) of beard and moustache: below a line that dips on the cheeks and rises to the temples."""
    q = (u / g.face_width).square()
    line = g.nose_length + 4 + 30 * q - 55 * q.square()
    stubble = 0.93 + 0.07 * torch.sin(1.2 * u + 0.4 * v + 1.5 * torch.sin(0.6 * v))
    return 0.8 * hair.beard * stubble * cover(v - line, 4.0)
