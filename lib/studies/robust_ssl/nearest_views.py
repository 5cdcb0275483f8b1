"""How near a view of each kind, map and crop together, can come to a tilted plane seen by a camera."""

import math

import torch
from torch import Generator, Tensor

from lib.transforms.conformal import Affine, Homography, LogConformal, Moebius, Tilt, per_picture, plane

CAMERAS = (1.5, 2.0, 3.0, 5.0)  # distances from the picture, in half sides
DEGREES = (10.0, 45.0)
FITTED = ("crop", "affine", "moebius", "log", "homography")  # "crop": no map at all


def drawn_tilts(count: int, seed: int = 0) -> list[Tilt]:
    """`count` tilts before each of `CAMERAS`, by angles within `DEGREES`, away in one of the four directions."""
    draw = Generator().manual_seed(seed)
    tilts = []
    for distance in CAMERAS:
        low, high = (math.radians(degrees) for degrees in DEGREES)
        angle = low + (high - low) * torch.rand(count, generator=draw, dtype=torch.float64)
        away = torch.randint(4, (count,), generator=draw) * (math.pi / 2)
        tilts.append(Tilt(angle, away.double(), distance))
    return tilts


def left_of_tilts(kind: str, tilts: list[Tilt], size: int = 15, steps: int = 300) -> Tensor:
    """What the nearest view of a kind in `FITTED` leaves of each tilt's displacement, (n,): 1 all of it, 0 nothing.

    Displacements are root mean squares over size x size points. The view's map, its crop's place and both sides of the
    crop are fitted to where the tilt reads, by L-BFGS from the whole picture as it is.
    """
    z = plane(size, size).to(torch.complex128)
    wanted = torch.cat([tilt(z) for tilt in tilts])
    whole = (wanted - z).abs().square().mean((1, 2))
    crop = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64).repeat(len(wanted), 1).requires_grad_()
    bend = torch.full((len(wanted), 4), 1e-3, dtype=torch.float64).requires_grad_()
    optimiser = torch.optim.LBFGS([crop, bend], max_iter=steps, history_size=50, line_search_fn="strong_wolfe")

    def left() -> Tensor:
        return (_read(kind, crop, bend, z) - wanted).abs().square().mean((1, 2)) / whole

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss = left().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(objective)
    return left().detach().sqrt()


def _read(kind: str, crop: Tensor, bend: Tensor, z: Tensor) -> Tensor:
    """Where the views read: crop (n, 4) as two factors and a place, bend (n, 4): c's parts, or a matrix less 1."""
    wide, tall, right, down = (per_picture(part, z) for part in crop.unbind(1))
    points = torch.complex(wide * z.real + right, tall * z.imag + down)
    c = torch.complex(bend[:, 0], bend[:, 1])
    if kind == "crop":
        return points
    if kind == "affine":
        return Affine(torch.eye(2, dtype=bend.dtype) + bend.view(-1, 2, 2))(points)
    return {"moebius": Moebius(c), "log": LogConformal(2 * c), "homography": Homography(c)}[kind](points)
