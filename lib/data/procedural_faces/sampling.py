"""Draws the factors of procedural faces, each group independently of the others."""

import torch
from torch import Tensor

from lib.data.procedural_faces.parameters import (
    ACTION_UNITS,
    EXPRESSIONS,
    HAIR,
    HAIR_STYLES,
    IDENTITY,
    LIGHT,
    POSE,
    SKIN,
    FaceParameters,
    prototypes,
    unit_column,
)
from lib.errors import WorkbookError


def sample_faces(labels: Tensor, seed: int = 0) -> FaceParameters:
    """Random faces for the identity `labels` (n,) int64, >= 0.

    A person owns identity, skin and (four images in five) hair; expression, units, pose, light and scene are drawn
    for each image, all independently. Person i of a seed looks the same whatever the other labels are.
    """
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or labels.dtype != torch.int64 or len(labels) == 0 or labels.min() < 0:
        raise WorkbookError("Expected identity labels as a non-empty int64 vector of numbers >= 0; pass torch.arange.")
    people, images = (torch.Generator().manual_seed(2 * seed + part) for part in (0, 1))
    # One row per person, filled in order, so that a row does not depend on how many people follow.
    person = torch.rand(int(labels.max()) + 1, len(IDENTITY) + len(SKIN) + len(HAIR), generator=people)[labels]
    identity, skin, hair = person.split((len(IDENTITY), len(SKIN), len(HAIR)), dim=1)
    expression, units = _expressions(len(labels), images)
    return FaceParameters(
        identity=2 * identity - 1,
        expression=expression,
        action_units=units,
        pose=_spread(len(labels), images) * torch.tensor(list(POSE.values())),
        light=_light(len(labels), images),
        hair=_hair(hair, images),
        skin=2 * skin - 1,
        scene=_scene(len(labels), images),
    )


def _spread(n: int, generator: torch.Generator, columns: int = 3) -> Tensor:
    """(n, columns) values in [-1, 1], denser around zero, as poses of photographs are."""
    return torch.rand(2, n, columns, generator=generator).sum(0) - 1


def _expressions(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Labels (n,) and units (n, 15): the prototype at an intensity of 0.6-1, jittered, with one blink in twenty."""
    expression = torch.randint(len(EXPRESSIONS), (n,), generator=generator)
    intensity = 0.6 + 0.4 * torch.rand(n, 1, generator=generator)
    jitter = 0.12 * torch.rand(n, len(ACTION_UNITS), generator=generator)
    units = (prototypes()[expression] * intensity + jitter).clamp(0, 1)
    units[:, unit_column(43)] = (torch.rand(n, generator=generator) < 0.05).float()
    return expression, units


def _light(n: int, generator: torch.Generator) -> Tensor:
    mean, half = torch.tensor(list(LIGHT.values()), dtype=torch.float32).T
    return mean + half * (2 * torch.rand(n, len(LIGHT), generator=generator) - 1)


def _hair(person: Tensor, generator: torch.Generator) -> Tensor:
    """The person's hair (n, 5), restyled in one image of five; a beard on one person in four."""
    other = torch.rand(person.shape, generator=generator)
    restyled = torch.rand(len(person), 1, generator=generator) < 0.2
    hair = torch.where(restyled, other, person)
    style = (hair[:, :1] * len(HAIR_STYLES)).floor()
    beard = (4 * hair[:, 4:] - 3).clamp(min=0)
    return torch.cat([style, 2 * hair[:, 1:4] - 1, beard], dim=1)


def _scene(n: int, generator: torch.Generator) -> Tensor:
    level = torch.rand(n, 1, generator=generator)
    tint = torch.rand(n, 3, generator=generator) - 0.5
    colour = 0.3 + 0.5 * level + 0.3 * tint * (1 - level)
    gradient = 2 * torch.rand(n, 1, generator=generator) - 1
    return torch.cat([colour, gradient, _spread(n, generator) * torch.tensor([1.2, 1.2, 0.03])], dim=1)
