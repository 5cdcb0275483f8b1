"""How a pre-trained encoder becomes a classifier: a linear layer on frozen features (SLF, ALF), or all of it (AFF).

SLF, standard linear fine-tuning: a linear probe of clean pictures (`lib.studies.robust_ssl.probes`). ALF, adversarial
linear fine-tuning: the layer alone learns from attacked pictures. AFF, adversarial full fine-tuning: TRADES moves all
weights, clean pictures passing one set of batch statistics and attacked ones the other; an encoder that was trained
with one set starts with two copies of it, so that all are tuned alike.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.attacks.objectives import kl
from lib.errors import WorkbookError, choices
from lib.losses.adversarial import trades
from lib.models.dual_norm import route
from lib.studies.robust_ssl.adversarial.networks import OneRoute, RoutedEncoder, with_two_sets
from lib.training.adversarial import AdversarialTraining, AttackedBatch, measures
from lib.training.loop import Measure, Metrics, Recipe, Trained, fit

FULL = ("ALF", "AFF")


class FrozenLinear(nn.Module):
    """A linear layer, zero at first, on the features of a frozen encoder that stays in eval mode: ALF's classifier."""

    def __init__(self, encoder: OneRoute, dim: int, classes: int):
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.fc = zero_layer(dim, classes)

    def train(self, mode: bool = True) -> "FrozenLinear":
        """Only the layer changes its mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images in [0,1]."""
        return self.fc(self.encoder(x))


class RoutedClassifier(nn.Module):
    """A routed encoder with a linear layer: logits (n, classes) along whatever route is set. AFF's classifier."""

    def __init__(self, encoder: RoutedEncoder, classes: int):
        super().__init__()
        self.encoder = encoder
        self.fc = zero_layer(encoder.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.fc(self.encoder(x))


def zero_layer(dim: int, classes: int) -> nn.Linear:
    """A linear layer of zeros, as in the released evaluation."""
    layer = nn.Linear(dim, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


@dataclass(frozen=True, eq=False)
class RoutedTrades(AdversarialTraining):
    """TRADES with two sets of batch statistics: clean pictures take the clean route, attacked ones the adversarial.

    The inner attack climbs the divergence from the clean prediction. beta: weight of that divergence in the loss.
    """

    step: str | float = "2/255"
    beta: float = 6.0

    def examples(self, model: nn.Module, index: LongTensor, generator: Generator) -> AttackedBatch:
        """Clean pictures, attacked ones, labels."""
        x, labels = self.batch(model, index, generator)
        with route(model, "clean"):
            goal = kl(model, x)
        with route(model, "adversarial"):
            moved = self.attack(goal, x, generator)
        return AttackedBatch(x, moved, labels)

    def measured(self, model: nn.Module, examples: AttackedBatch) -> Metrics:
        """The loss and both accuracies."""
        with route(model, "clean"):
            clean = model(examples.clean).float()
        with route(model, "adversarial"):
            attacked = model(examples.attacked).float()
        return measures(trades(clean, attacked, examples.labels, self.beta), examples.labels, clean, attacked)


@dataclass(frozen=True, eq=False)
class FineTuning:
    """What is tuned and how: "ALF" or "AFF" on labelled images (n, 3, S, S) uint8, labels (n,), with a recipe.

    steps: of the inner attack, 2/255 each (the released ALF and AFF: 10). watch: accuracies along the way, or None.
    layer: "weight" and "bias" that the linear layer starts from, in place of zeros.
    """

    mode: str
    images: Tensor
    labels: LongTensor
    recipe: Recipe
    steps: int = 10
    watch: Measure | None = None
    layer: dict[str, Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse a mode that does not exist."""
        if self.mode not in FULL:
            raise WorkbookError(f"Fine-tuning is {choices(FULL)} (SLF is a linear probe), not '{self.mode}'.")

    def classifier(self, encoder: RoutedEncoder, classes: int) -> nn.Module:
        """The classifier on that encoder, new."""
        if self.mode == "ALF":
            model = FrozenLinear(OneRoute(encoder), encoder.dim, classes)
        else:
            model = RoutedClassifier(with_two_sets(encoder).requires_grad_(True), classes)
        if self.layer is not None:
            model.fc.load_state_dict(self.layer)
        return model

    def loss(self) -> AdversarialTraining:
        """PGD adversarial training of the layer, or dual TRADES of everything."""
        if self.mode == "ALF":
            return AdversarialTraining(self.images, self.labels, "PGD-AT", self.steps, "2/255")
        return RoutedTrades(self.images, self.labels, "TRADES", self.steps)


def fine_tune(encoder: RoutedEncoder, tuning: FineTuning, classes: int, device: str = "cpu") -> Trained:
    """A classifier tuned from a copy of `encoder`: its "weights" and the "history"; the last step's, as released."""
    model = tuning.classifier(copy.deepcopy(encoder), classes).to(device)
    history = fit(
        model, tuning.loss(), len(tuning.images), tuning.recipe, held_out=tuning.watch, label=f"{tuning.mode}"
    )
    return {"weights": model.state_dict(), "history": history}


def share_of(images: Tensor, labels: LongTensor, share: float, seed: int = 0) -> tuple[Tensor, LongTensor]:
    """That share of labelled pictures, of every class alike and at least one, drawn at random."""
    if not 0 < share <= 1:
        raise WorkbookError(f"A share of labels lies above 0 and up to 1, not at {share}: give 10 % as 0.1.")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    rows = []
    for label in labels.unique().tolist():
        mine = order[labels[order] == label]
        rows.append(mine[: max(1, round(share * len(mine)))])
    index = torch.cat(rows)
    return images[index], labels[index]
