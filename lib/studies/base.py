"""What every study's `study.py` is built on: one run, one table of sizes, trainings done once and kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from lib.book.run import Run, device_name
from lib.cache import kept
from lib.training.loop import Recipe, Trained


@dataclass(frozen=True)
class Place:
    """The device of a training that may be done on another machine than the one that reads it; it keys nothing."""

    device: str
    fingerprint: str = "anywhere"


def trained_at(place: Place, train: Callable[..., Trained], *arguments: object) -> Trained:
    """`train(*arguments, device)` with "trained_on": the device and torch's version, in words."""
    where = f"{device_name(torch.device(place.device))}, torch {torch.__version__}"
    return train(*arguments, place.device) | {"trained_on": where}


RECIPE_FIELDS = {field.name for field in fields(Recipe)}


class Study:
    """A run at a scale. Subclasses add their data, their networks, and the trainings that their pages ask for.

    scale: the namespace of `run.scale`, with the rows that the study's `SIZES` declares.
    """

    def __init__(self, run: Run, scale: SimpleNamespace):
        self.run = run
        self.scale = scale

    @property
    def device(self) -> str:
        """Where the study trains and measures, as a word that keys a kept result."""
        return str(self.run.device)

    def recipe(self, steps: int, batch: int, rate: float, looks: int = 10, **settings: object) -> Recipe:
        """A recipe whose progress is looked at `looks` times; bfloat16 at the profiles made for a GPU."""
        amp = self.run.device.type == "cuda" and self.run.profile in ("gpu", "paper")
        settings = {"amp": amp, "check_every": max(1, steps // looks)} | settings
        return Recipe(steps, batch, rate, **settings)

    def trained(self, train: Callable[..., Trained], *arguments: object) -> Trained:
        """The kept result of `train(*arguments)`."""
        return self.run.kept(train, *arguments)

    def trained_anywhere(self, train: Callable[..., Trained], *arguments: object) -> Trained:
        """`train(*arguments, device)`, kept under a key without device and version: a GPU may train for laptops.

        Where it was trained goes into the ledger, since the same seed gives other weights there.
        """
        found = kept(trained_at, Place(self.device), train, *arguments, where=None)
        self.run.uses("trainings", found["trained_on"])
        return found

    def for_each(
        self, function: Callable[..., dict[str, Tensor]], models: Sequence[nn.Module], *arguments: object, **settings
    ) -> dict[str, Tensor]:
        """The kept results `function(model, *arguments, **settings)` of every model, stacked: name -> (models, ...)."""
        results = [self.run.kept(function, model, *arguments, **settings) for model in models]
        return {name: torch.stack([result[name] for result in results]) for name in results[0]}
