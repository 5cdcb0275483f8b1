"""Supervised classifiers on the shared trunk: undefended (the surrogate of transfer attacks) and TRADES."""

from dataclasses import dataclass

from torch import Generator, LongTensor, Tensor, nn

from lib.attacks.budgets import Size
from lib.attacks.objectives import kl
from lib.models.classifiers import is_correct
from lib.studies.dar_sfrl.encoders import FaceTrunk
from lib.training.adversarial import AdversarialTraining, AttackedBatch
from lib.training.batches import pixels_of
from lib.transforms.crops import crop_flip


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
class Supervised(AdversarialTraining):
    """Adversarial training as TRADES has it, its inner attack away from the clean prediction; or "natural" training.

    Faces are shifted by up to 2 pixels.
    """

    base: str = "natural"
    steps: int = 5
    step: Size = "2/255"

    def batch(self, model: nn.Module, index: LongTensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (b, 3, H, W) and labels (b,) on the model's device."""
        x = crop_flip(pixels_of(self.images, index, model), generator, pad=2)
        return x, self.labels[index.to(self.labels.device)].to(x.device)

    def examples(self, model: nn.Module, index: LongTensor, generator: Generator) -> AttackedBatch:
        """Natural images and copies whose prediction was moved."""
        x, y = self.batch(model, index, generator)
        attacked = None if self.base == "natural" else self.attack(kl(model, x), x, generator)
        return AttackedBatch(x, attacked, y)


@dataclass(frozen=True, eq=False)
class CleanError:
    """For `fit`: the share of held-out images (n, 3, S, S) in [0,1] that a classifier gets wrong."""

    images: Tensor
    labels: LongTensor

    def __call__(self, model: nn.Module) -> float:
        """The error."""
        return 1 - is_correct(model, self.images, self.labels).double().mean().item()
