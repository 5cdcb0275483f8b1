"""Adversarial training of any model that gives logits: a base loss on images and on attacked copies of them.

    fit(model, AdversarialTraining(images, labels, base="TRADES"), len(images), recipe)

The bases are those of `lib.losses.adversarial`: PGD-AT (Madry et al. 2018), TRADES (Zhang et al. 2019), MART (Wang et
al. 2020), and "natural", without an attack. A method with more of its own overrides `objective` (what the inner attack
climbs), `examples` (what a step learns from) or `measured` (the loss).
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Linf, Size
from lib.attacks.loop import in_batches
from lib.attacks.objectives import Objective, cross_entropy
from lib.attacks.settings import PGD
from lib.errors import WorkbookError, choices
from lib.losses.adversarial import BASES
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.crops import crop_flip

CHUNK = 128  # images attacked at once on a CPU: more no longer fit its cache, fewer are slower


class AttackedBatch(NamedTuple):
    """What one step learns from: natural images (b, C, H, W), attacked ones (None where unused), labels (b,)."""

    clean: Tensor
    attacked: Tensor | None
    labels: Tensor


@dataclass(frozen=True, eq=False)
class AdversarialTraining:
    """A loss for `fit`: a base of `lib.losses.adversarial`, with PGD inside.

    images (n, C, H, W), uint8 or in [0,1]; labels (n,) from 0. The inner attack is PGD on `objective` in eval mode from
    a start of 0.001 N(0, 1); clean and attacked images are passes of their own, with batch statistics of their own.
    steps, step, eps: of the inner attack, sizes in units of [0,1]. augment: crops and flips before the attack.
    """

    images: Tensor
    labels: LongTensor
    base: str = "TRADES"
    steps: int = 10
    step: Size = 0.007
    eps: Size = "8/255"
    augment: bool = True

    def __post_init__(self) -> None:
        """Refuse what does not exist or belong together."""
        if self.base not in BASES:
            raise WorkbookError(f"base is one of {choices(tuple(BASES))}, not '{self.base}': choose one.")
        if len(self.images) != len(self.labels):
            raise WorkbookError(f"{len(self.images)} images came with {len(self.labels)} labels: give one each.")
        if self.steps < 1:
            raise WorkbookError(f"The inner attack takes at least 1 step, not {self.steps}: raise steps.")

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss of `model` on the images `index` (b,), and its accuracies on what it learns from."""
        return self.measured(model, self.examples(model, index, generator))

    def batch(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (b, C, H, W) and labels (b,) on the model's device."""
        x = pixels_of(self.images, index, model)
        x = crop_flip(x, generator) if self.augment else x
        return x, self.labels[index.to(self.labels.device)].to(x.device)

    def examples(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> AttackedBatch:
        """Natural images and their attacked copies."""
        x, y = self.batch(model, index, generator)
        attacked = None if self.base == "natural" else self.attack(self.objective(model, y), x, generator)
        return AttackedBatch(x, attacked, y)

    def objective(self, model: nn.Module, labels: Tensor) -> Objective:
        """What the inner attack climbs: the cross-entropy of labels (b,)."""
        return cross_entropy(model, labels)

    def attack(self, objective: Objective, x: Tensor, generator: torch.Generator) -> Tensor:
        """The inner attack on images x (b, C, H, W)."""
        settings = PGD.but(steps=self.steps, step=self.step, start="gaussian")
        batch = None if x.is_cuda else CHUNK
        return in_batches(objective, x, Linf(self.eps), settings, batch=batch, generator=generator)

    def measured(self, model: nn.Module, examples: AttackedBatch) -> Metrics:
        """Loss and metrics. PGD-AT passes no clean image, "natural" no attacked one."""
        clean = None if self.base == "PGD-AT" else model(examples.clean).float()
        attacked = None if examples.attacked is None else model(examples.attacked).float()
        return measures(BASES[self.base](clean, attacked, examples.labels), examples.labels, clean, attacked)


def measures(loss: Tensor, labels: Tensor, clean: Tensor | None, attacked: Tensor | None, **more: Tensor) -> Metrics:
    """What `fit` notes: the loss, accuracies on natural and attacked images from logits (b, K), and `more`."""
    logits = {"accuracy": clean, "accuracy attacked": attacked}
    rates = {name: (z.argmax(1) == labels).float().mean() for name, z in logits.items() if z is not None}
    return {"loss": loss} | rates | {name: value.detach() for name, value in more.items()}
