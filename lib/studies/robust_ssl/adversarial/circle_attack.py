"""ACL in two dimensions: pictures are angles, an attack turns them a little, and temperature and epsilon are knobs."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows
from lib.seeds import seeded
from lib.studies.robust_ssl.circle import POINTS, CircleNetwork

TEMPERATURES = (0.1, 0.2, 0.5, 1.0)
RADII = (0.0, 0.1, 0.2, 0.4)  # of the attack, radians; neighbours lie 0.26 apart
SPREAD = 0.2  # of the views, radians
ATTACK = 3  # steps


def at_angles(angle: Tensor) -> Tensor:
    """Points (n, 2) on the unit circle."""
    return torch.stack([angle.cos(), angle.sin()], 1)


def contrast(model: nn.Module, angle: Tensor, temperature: float) -> Tensor:
    """NT-Xent of the places of both views' angles (2n,)."""
    return nt_xent_rows(F.normalize(model(at_angles(angle)), dim=1), temperature).mean()


def turned_uphill(model: nn.Module, angle: Tensor, eps: float, temperature: float) -> Tensor:
    """Angles (2n,) moved by at most `eps` in three sign steps that raise the contrast."""
    moved = angle.clone()
    for _ in range(ATTACK if eps else 0):
        leaf = moved.requires_grad_()
        (gradient,) = torch.autograd.grad(contrast(model, leaf, temperature), leaf)
        moved = torch.clamp(leaf.detach() + eps / 2 * gradient.sign(), angle - eps, angle + eps)
    return moved.detach()


def move_attacked(
    temperature: float = 0.5, eps: float = 0.2, seed: int = 0, steps: int = 300, rate: float = 1e-2
) -> dict[str, Tensor]:
    """Train the circle's network by ACL: "places" (n,), angles where the points rest, and "reach" (n,).

    reach: by how many radians an attack of 0.2 on the input moves each place at most (a fine grid, no gradient).
    """
    if eps < 0 or temperature <= 0:
        raise WorkbookError(f"A temperature lies above 0 and a radius at 0 or more, not {temperature} and {eps}.")
    angle = 2 * torch.pi * torch.arange(POINTS) / POINTS
    with seeded(seed):
        model = CircleNetwork()
    optimiser = torch.optim.Adam(model.layers.parameters(), lr=rate)
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        views = angle.repeat(2) + SPREAD * torch.randn(2 * POINTS, generator=draw)
        moved = turned_uphill(model, views, eps, temperature)
        loss = (contrast(model, views, temperature) + contrast(model, moved, temperature)) / 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return {"places": angles_of(model, angle), "reach": reach_of(model, angle)}


@torch.no_grad()
def angles_of(model: nn.Module, angle: Tensor) -> Tensor:
    """Angles of the places of pictures (...,)."""
    places = model(at_angles(angle.flatten()))
    return torch.atan2(places[:, 1], places[:, 0]).view(angle.shape)


def reach_of(model: nn.Module, angle: Tensor, eps: float = 0.2, count: int = 41) -> Tensor:
    """The largest turn (n,) of a place when its picture turns by at most `eps`."""
    near = angle[:, None] + torch.linspace(-eps, eps, count)
    turn = angles_of(model, near) - angles_of(model, angle)[:, None]
    return torch.remainder(turn + torch.pi, 2 * torch.pi).sub(torch.pi).abs().amax(1)


def attacked_circle_grid(steps: int, seed: int = 0) -> dict[str, Tensor]:
    """`move_attacked` for every temperature and radius: "places" and "reach" (temperatures, radii, n)."""
    found = [[move_attacked(tau, eps, seed, steps) for eps in RADII] for tau in TEMPERATURES]
    return {
        name: torch.stack([torch.stack([case[name] for case in row]) for row in found]) for name in ("places", "reach")
    }
