"""Renders procedural faces: lays the layers over each other, then lights them from the height field."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor

from lib.data.procedural_faces.geometry import face_shape, image_grid, normals, rotation, surface, unproject
from lib.data.procedural_faces.hair import beard, hair_front, hair_outside, hair_shape, strands
from lib.data.procedural_faces.layers import (
    cover,
    face_colours,
    paint,
    paint_eyes,
    paint_mouth,
    rgb,
    skin,
)
from lib.data.procedural_faces.parameters import FaceParameters
from lib.errors import WorkbookError

VERSION = 1  # raise it whenever a pixel changes: the fingerprints of rendered sets hold it
CHUNK = 8  # faces at once: their working set stays in a core's cache
# the parts of the picture these layers can reach
EYE_ROWS = (0.10, 0.72)
MOUTH_ROWS = (0.52, 1.0)


def render(faces: FaceParameters, size: int = 112) -> Tensor:
    """Pictures (n, 3, size, size) of the faces, float32 in [0, 1]; each depends on its own parameters only."""
    if not 16 <= size <= 512:
        raise WorkbookError(f"Expected a picture size of 16 to 512 pixels, got {size}; the usual size is 112.")
    starts = range(0, len(faces), CHUNK)
    with _one_thread(), torch.no_grad():
        return torch.cat([_render_chunk(faces.take(slice(start, start + CHUNK)), size) for start in starts])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch to one thread: for operations this small two threads took 20 times longer on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _render_chunk(faces: FaceParameters, size: int) -> Tensor:
    g = face_shape(faces)
    turn = rotation(faces.pose)
    hair = hair_shape(faces)
    soft = 112 / size
    colours = face_colours(faces, g)
    x, y = image_grid(faces, size)
    u, v, z, rho = surface(x, y, g, turn)
    image = _background(faces, size)
    at = partial(unproject, x, y, turn=turn)
    level = _level(faces)
    behind = at(-14.0)
    _paint_back_hair(image, behind, g, hair, 0.65 * level * colours.hair, soft)
    _paint_neck(image, behind, g, level * colours.skin, soft)
    _paint_ears(image, at, g, colours, level, soft)
    on_head = cover((1 - rho) * g.face_width, soft)
    surface_colour = skin(u, v, g, colours)
    paint(surface_colour, 0.8 * colours.hair, beard(u, v, g, hair))
    paint(image, surface_colour, on_head)
    for layer, span in ((paint_eyes, EYE_ROWS), (paint_mouth, MOUTH_ROWS)):
        rows = slice(int(span[0] * size), int(span[1] * size))
        layer(image[:, :, rows], u[:, rows], v[:, rows], g, colours, soft)
    locks = hair_front(u, v, g, hair, soft)
    paint(image, strands(u, v, hair, colours), locks)
    normal = normals(u, v, z, turn, soft)
    return _lit(image, normal, torch.maximum(on_head, locks), locks, faces).clamp_(0, 1)


def _background(faces: FaceParameters, size: int) -> Tensor:
    """A vertical gradient around the scene's colour."""
    slope = torch.linspace(-0.18, 0.18, size).reshape(1, 1, size, 1)
    backdrop = faces.scene[:, :3, None, None] * (1 + faces.scene[:, 3, None, None, None] * slope)
    return backdrop.expand(-1, -1, -1, size).clone()


def _paint_back_hair(
    image: Tensor, at: tuple[Tensor, Tensor], g: SimpleNamespace, hair: SimpleNamespace, colour: Tensor, soft: float
) -> None:
    """Hair at the back, which like the neck lies deeper than the face and so moves less when the head turns.

    at: the face coordinates of the picture's points at the height of the back.
    """
    u, v = at
    end = hair.end - 2 - 0.004 * u.square()
    back = cover(hair_outside(u, v, g, hair), soft) * cover(end - v, 3.0) * cover(hair.end - 20, 4.0)
    paint(image, colour, back)


def _paint_neck(image: Tensor, at: tuple[Tensor, Tensor], g: SimpleNamespace, colour: Tensor, soft: float) -> None:
    """The neck, in the shadow of the chin and darker at its sides."""
    u, v = at
    half = 0.58 * g.face_width + (v - g.face_length).clamp(min=0)
    chin_shadow = 0.72 + 0.02 * (v - g.face_length + g.jaw_drop).clamp(0, 14)
    side = (0.8 - 0.25 * (u / half).square()) * chin_shadow
    paint(image, colour * side[:, None], cover(half - u.abs(), soft) * cover(v - 25))


def _paint_ears(
    image: Tensor, at: Callable, g: SimpleNamespace, colours: SimpleNamespace, level: Tensor, soft: float
) -> None:
    """Both ears as ellipses at the sides of the head, darker in the middle."""
    u, v = at(3.0)
    x = (u.abs() - g.face_width - 1.0) / (5.5 * g.ear_size)
    y = (v - 6) / (11 * g.ear_size)
    ear = (x - 0.25 * y).square() + y.square()
    tint = (0.86 - 0.3 * torch.exp(-6 * ear))[:, None] * level
    paint(image, colours.skin * rgb(1.0, 0.93, 0.92) * tint, cover((1 - ear.sqrt()) * 5.5, soft))


def _level(faces: FaceParameters) -> Tensor:
    """Brightness (n, 1, 1, 1) of what the height field does not shade."""
    return (faces.light[:, 2] + 0.75 * faces.light[:, 3])[:, None, None, None]


def _lit(image: Tensor, normal: tuple, body: Tensor, locks: Tensor, faces: FaceParameters) -> Tensor:
    """Ambient and wrapped Lambertian light on the body; skin's shadows keep their red, hair and skin shine a little."""
    azimuth, elevation = torch.deg2rad(faces.light[:, :2, None, None]).unbind(1)
    ambient, strength, warmth = faces.light[:, 2:, None, None].unbind(1)
    towards = azimuth.sin() * elevation.cos(), -elevation.sin(), azimuth.cos() * elevation.cos()
    lambert = sum(part * axis for part, axis in zip(normal, towards, strict=True))
    shade = ambient + strength * (0.8 * lambert + 0.2).clamp(min=0)
    middle = (towards[0], towards[1], towards[2] + 1)
    length = sum(axis.square() for axis in middle).sqrt()
    shine = (sum(part * axis for part, axis in zip(normal, middle, strict=True)) / length).clamp(min=0)
    shine = shine.square().square().square()
    shine = strength * (0.16 * shine.square() + 0.08 * shine * locks) * body
    tint = 1 + warmth[:, None] * rgb(0.05, 0.0, -0.07)
    coloured = 1 + (shade[:, None] - 1) * rgb(0.88, 1.0, 1.04)
    image = torch.lerp(torch.ones(()), coloured * tint, body[:, None]) * image + shine[:, None]
    return torch.minimum(image, 0.8 + 0.5 * (image - 0.8))  # a shoulder keeps highlights from burning out
