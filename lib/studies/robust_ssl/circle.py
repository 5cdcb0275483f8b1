"""The slides' argument in two dimensions: points on a circle, moved by each family's own loss until they rest.

A picture is an angle, its views are angles near by, and a small network puts each on the circle. The losses are those
of `families`, untouched; the network, its optimiser and the number of pictures are not those of the large one, so the
toy shows what a loss can do and foretells nothing.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.robust_ssl.families import Settings, family

POINTS = 24
TOY = Settings(queue=POINTS, small=0, momentum=0.9)


class CircleNetwork(nn.Module):
    """Points (n, 2) to points (n, 2), with what the families ask of a `JointEmbedding`."""

    dim = 2

    def __init__(self, hidden: int = 32, prototypes: int = 6):
        super().__init__()
        self.layers = _layers(hidden)
        self.predictor = _layers(hidden)
        self.prototypes = nn.Parameter(torch.randn(prototypes, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Raw places (n, 2)."""
        return self.layers(x)

    def unit(self, x: Tensor) -> Tensor:
        """Places on the circle (n, 2)."""
        return F.normalize(self(x), dim=1)

    def cosines(self, x: Tensor) -> Tensor:
        """Cosines (n, K) with the prototypes."""
        return self.unit(x) @ F.normalize(self.prototypes, dim=1).T


def _layers(hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, hidden), nn.Tanh(), nn.Linear(hidden, 2))


@dataclass(frozen=True)
class Turned:
    """`views(x, generator)`: points x (n, 2), each turned by an angle from N(0, spread^2)."""

    spread: float = 0.2

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """Turned points (n, 2)."""
        angle = self.spread * torch.randn(len(x), generator=generator)
        cosine, sine = angle.cos(), angle.sin()
        return torch.stack([cosine * x[:, 0] - sine * x[:, 1], sine * x[:, 0] + cosine * x[:, 1]], 1)


def on_circle(count: int) -> Tensor:
    """Points (count, 2), evenly spaced on the unit circle."""
    angle = 2 * torch.pi * torch.arange(count) / count
    return torch.stack([angle.cos(), angle.sin()], 1)


def resultant(places: Tensor) -> Tensor:
    """Length of the mean of unit vectors (..., n, 2) at doubled angles: 0 spread, 1 in one place or two opposite ones.

    A loss that only attracts may leave two opposite heaps, whose plain mean is as short as that of a full circle.
    """
    x, y = places.unbind(-1)
    return torch.stack([x.square() - y.square(), 2 * x * y], -1).mean(-2).norm(dim=-1)


def winding(places: Tensor) -> Tensor:
    """How often points (..., n, 2), in the order of their pictures' angles, go around the circle: whole numbers.

    A loss that pulls neighbours together shortens the loop, but cannot undo a turn without tearing it.
    """
    angles = torch.atan2(places[..., 1], places[..., 0])
    steps = angles.roll(-1, -1) - angles
    return (torch.atan2(steps.sin(), steps.cos()).sum(-1) / (2 * torch.pi)).round()


def move(
    method: str, without: str | None = None, seed: int = 0, steps: int = 300, frames: int = 30, rate: float = 1e-2
) -> dict[str, Tensor]:
    """Train the small network with a family's loss: "places" (frames + 1, n, 2) on the circle, "steps" (frames + 1,).

    With the "loss" of each step.
    """
    if not 1 <= frames <= steps:
        raise WorkbookError(f"The points are drawn at least once and at most {steps} times, not {frames}: change it.")
    points, views = on_circle(POINTS), Turned()
    with seeded(seed):
        model = CircleNetwork()
        loss = family(method)(points, model, views, TOY, without)
    optimiser = torch.optim.Adam([*model.parameters()], lr=rate)
    generator = torch.Generator().manual_seed(seed)
    shown = torch.linspace(0, steps, frames + 1).round().long()
    places, losses = [], []
    for step in range(steps + 1):
        if step in shown:
            places.append(model.unit(points).detach())
        if step < steps:
            losses.append(_step(loss, model, optimiser, (views(points, generator), views(points, generator))))
            loss.done = step / steps
    return {"places": torch.stack(places), "steps": shown, "loss": torch.tensor(losses)}


def _step(loss: nn.Module, model: nn.Module, optimiser: torch.optim.Optimizer, both: tuple[Tensor, Tensor]) -> float:
    optimiser.zero_grad()
    found = loss.compare(model, *both)
    found["loss"].backward()
    optimiser.step()
    with torch.no_grad():
        loss.update(model, {name: rows.detach() for name, rows in found.items() if rows.ndim})
    return found["loss"].item()
