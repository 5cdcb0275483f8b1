"""Supervised classifiers on the shared trunk: undefended (the surrogate of transfer attacks) and TRADES.

RoCL and ACL are not built here: the adversarial contrast of ACL-triplet's study does what they need, and studies do not
import each other. They wait for it in the core.
"""

from dataclasses import dataclass

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.loop import ascend
from lib.attacks.objectives import kl
from lib.attacks.settings import TPGD
from lib.errors import WorkbookError, choices
from lib.losses.adversarial import natural, trades
from lib.models.classifiers import is_correct
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.crops import crop_flip

BASES = ("natural", "TRADES")


class TrunkClassifier(nn.Module):
    """The trunk and a linear layer: logits (n, classes) of images (n, 3, S, S) in [0,1]; `encoder` is the trunk."""

    def __init__(self, side: int, width: int, classes: int):
        super().__init__()
        self.encoder = FaceTrunk(width)
        self.last = nn.Linear(self.encoder.features_at(side), classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.last(self.encoder(x))


@dataclass(frozen=True, eq=False)
class Supervised:
    """For `fit`: cross-entropy ("natural") or TRADES of images (n, 3, S, S), uint8 or in [0,1], labels (n,) from 0."""

    images: Tensor
    labels: LongTensor
    base: str = "natural"
    eps: str = "8/255"
    step: str = "2/255"
    steps: int = 5
    beta: float = 6.0

    def __post_init__(self) -> None:
        """Refuse a base that does not exist."""
        if self.base not in BASES:
            raise WorkbookError(f"A supervised base is one of {choices(BASES)}, not '{self.base}': choose one.")

    def __call__(self, model: TrunkClassifier, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", "accuracy"} on the images `index` (b,)."""
        x = crop_flip(pixels_of(self.images, index, model), generator, pad=2)
        labels = self.labels[index.to(self.labels.device)].to(x.device)
        if self.base == "natural":
            clean = model(x).float()
            loss = natural(clean, clean, labels)
        else:
            settings = TPGD.but(steps=self.steps, step=self.step)
            moved = ascend(kl(model, x), x, Linf(self.eps), settings, generator=generator)
            clean, attacked = model(torch.cat([x, moved])).float().chunk(2)
            loss = trades(clean, attacked, labels, self.beta)
        return {"loss": loss, "accuracy": (clean.argmax(1) == labels).float().mean()}


@dataclass(frozen=True, eq=False)
class CleanError:
    """For `fit`: the share of held-out images (n, 3, S, S) in [0,1] that a classifier gets wrong."""

    images: Tensor
    labels: LongTensor

    def __call__(self, model: nn.Module) -> float:
        """The error."""
        return 1 - is_correct(model, self.images, self.labels).double().mean().item()
