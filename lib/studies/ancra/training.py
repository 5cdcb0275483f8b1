"""What ANCRA's pages train: one classifier by one loss, its best weights chosen on held-out images. Plain results."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.loop import in_batches
from lib.attacks.objectives import Objective
from lib.attacks.settings import PGD
from lib.errors import WorkbookError, choices
from lib.models.classifiers import is_correct
from lib.models.preact import PreActResNet, WideResNet
from lib.models.resnets import ResNet
from lib.seeds import seeded
from lib.studies.ancra.classifiers import GatedClassifier, soft
from lib.studies.ancra.objectives import gated, total_loss
from lib.training.loop import Loss, Measure, Recipe, Trained, fit

FAMILIES = ("resnet", "preact", "wide")


@dataclass(frozen=True)
class Network:
    """A classifier's size. The source: ResNet-18, PreActResNet-18 (Tiny-ImageNet) and WideResNet-28-10 and -34-10.

    width: channels of the first stage, for "wide" the factor of widening. gates: see `GatedClassifier`.
    """

    classes: int
    family: str = "resnet"
    depth: int = 18
    width: int = 64
    stem: str = "small"
    gates: int = 0

    def __post_init__(self) -> None:
        """Refuse a family that does not exist."""
        if self.family not in FAMILIES:
            raise WorkbookError(f"A network's family is one of {choices(FAMILIES)}, not '{self.family}': choose one.")

    def classifier(self, seed: int = 0) -> GatedClassifier:
        """A new classifier of images (n, 3, H, W) in [0,1]."""
        with seeded(seed):
            if self.family == "wide":
                trunk = WideResNet(self.depth, self.width)
            else:
                trunk = (ResNet if self.family == "resnet" else PreActResNet)(self.depth, self.width, self.stem)
            return GatedClassifier(trunk, self.classes, self.gates).to(memory_format=torch.channels_last)

    def loaded(self, trained: Trained) -> GatedClassifier:
        """The classifier with trained weights, frozen, in eval mode."""
        model = self.classifier()
        model.load_state_dict(trained["weights"])
        return model.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class RobustError:
    """For `fit`: errors on held-out images (n, 3, H, W) in [0,1], labels (n,), clean and under PGD; the latter chooses.

    The source selects by PGD on the total loss, and on the test images. Behind hard gates that attack is half blind, so
    that the most masked weights would win: each image counts as right only if it also survives PGD through soft gates.
    """

    images: Tensor
    labels: LongTensor
    steps: int = 10
    eps: str = "8/255"

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Errors of `model`: clean, under the total loss, under the worst of both attacks."""
        clean = is_correct(model, self.images, self.labels)
        total = self.correct_after(model, total_loss(model, self.labels))
        worst = clean & total
        if model.gates:
            worst &= self.correct_after(model, gated(model, self.labels, gate=soft()))
        errors = {"clean error": clean, "PGD error": total, "held_out": worst}
        return {name: 1 - flags.double().mean().item() for name, flags in errors.items()}

    def correct_after(self, model: nn.Module, goal: Objective) -> Tensor:
        """Which images (n,) are classified rightly after climbing `goal`."""
        attack = PGD.but(steps=self.steps, step="2/255")
        generator = torch.Generator().manual_seed(0)
        moved = in_batches(goal, self.images, Linf(self.eps), attack, generator=generator)
        return is_correct(model, moved, self.labels)


def train_classifier(
    loss: Loss, count: int, network: Network, recipe: Recipe, measure: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A new classifier trained by `loss` on `count` images: its weights and the history."""
    model = network.classifier(recipe.seed).to(device)
    learner = loss.tracked(model) if hasattr(loss, "tracked") else model
    history = fit(learner, loss, count, recipe, held_out=measure, label=f"training {type(loss).__name__}")
    return {"weights": model.state_dict(), "history": history}
