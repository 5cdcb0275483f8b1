"""Training a recogniser on adversarial faces: adversarial classification (Xie et al.), triplet embedding (MTER).

Both fine-tune a trained recogniser on labelled faces. Where most people have one picture, a classifier's weights cannot
be learnt, so each person's prototype is fixed: the mean clean embedding of the recogniser before fine-tuning.

Batch normalisation keeps the statistics of the original training (a folded recogniser keeps one such layer, at its
end): the batches here are adversarial, and the attack, the loss and the tests must see one and the same function.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Intensity
from lib.attacks.embeddings import DISTANCES, impersonation
from lib.attacks.loop import ascend
from lib.attacks.objectives import Objective, margin
from lib.attacks.settings import PGD, Settings
from lib.errors import WorkbookError, choices
from lib.losses.margins import cosine_margin_loss
from lib.models.base import evaluating
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.training.batches import pixels_of

Metrics = dict[str, Tensor]
# Xie et al. take 30 steps of 1/16 of the budget, 1.875 budgets in all; fewer steps go as far.
LENGTH = 30 / 16


def inner_attack(steps: int, start: str) -> Settings:
    """The inner attack: `steps` sign steps that add up to 1.875 radii of the budget."""
    if steps < 1:
        raise WorkbookError(f"Adversarial training needs at least one step of attack, not {steps}.")
    return PGD.but(steps=steps, step=f"{LENGTH}*eps/{steps}", start=start)


class CosineLogits(nn.Module):
    """A recogniser as a classifier of known people: the cosines to their prototypes."""

    def __init__(self, recogniser: nn.Module, prototypes: Tensor):
        super().__init__()
        self.recogniser = recogniser
        self.register_buffer("prototypes", F.normalize(prototypes, dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, C, H, W)."""
        return F.normalize(self.recogniser(x), dim=1) @ self.prototypes.T


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Labelled faces and what both losses ask of them.

    images (n, C, H, W), uint8 or in [0,1]; labels (n,) from 0; prototypes (classes, d), fixed, from
    `class_means`; intensity: PIN's budget of the inner attack.
    """

    images: Tensor
    labels: LongTensor
    prototypes: Tensor
    intensity: float = PIN_INTENSITY

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        if len(self.images) != len(self.labels) or int(self.labels.max()) >= len(self.prototypes):
            raise WorkbookError(
                f"{len(self.images)} faces came with {len(self.labels)} labels up to {int(self.labels.max())} and "
                f"{len(self.prototypes)} prototypes: give one label per face and one prototype per person."
            )

    def batch(self, model: nn.Module, index: LongTensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (b, C, H, W), labels (b,) and prototypes on the model's device."""
        device = next(model.parameters()).device
        images = pixels_of(self.images, index, model)
        return images, self.labels[index.to(self.labels.device)].to(device), self.prototypes.to(device)


@dataclass(frozen=True, eq=False)
class AdversarialClassification(_Labelled):
    """Classification loss on adversarial faces (Xie et al., CVPR 2019, section 5), for a recogniser that sees `images`.

    The inner attack is theirs: from a random start, towards a class drawn at random (targeted=False: away from the own
    class); 30 steps in the source, whose sum of steps is kept when there are fewer. All of the batch is attacked; with
    clean=0.5 the first half of it is not. Ours: fixed prototypes and CosFace's margin (scale and margin of its paper)
    in place of a softmax layer, fine-tuning in place of training from scratch, a random start for all images (the
    source: for 4 in 5), the margin of logits as the attack's objective.
    """

    steps: int = 30
    clean: float = 0.0
    targeted: bool = True
    scale: float = 64.0
    margin: float = 0.35

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss of `model` on the faces `index` (b,), and the share of them that it classifies rightly."""
        images, labels, prototypes = self.batch(model, index)
        kept = round(self.clean * len(images))
        if kept < len(images):
            goal = self.goal(model, labels[kept:], prototypes, generator)
            attacked = ascend(
                goal, images[kept:], Intensity(self.intensity), inner_attack(self.steps, "uniform"), generator=generator
            )
            images = torch.cat([images[:kept], attacked])
        with steady(model):
            raw = model(images).float()
        loss = cosine_margin_loss(raw, prototypes, labels, self.scale, self.margin)
        correct = (raw.detach() @ F.normalize(prototypes, dim=1).T).argmax(1) == labels
        return {"loss": loss, "accuracy": correct.float().mean()}

    def goal(self, model: nn.Module, labels: Tensor, prototypes: Tensor, generator: torch.Generator) -> Objective:
        """What the inner attack increases: the cosine to a random other class, or to the nearest, over the rest.

        The margin between logits, not their cross-entropy: at CosFace's scale a well recognised face has probability 1
        in float32, where the cross-entropy has no gradient.
        """
        logits = CosineLogits(model, prototypes)
        if not self.targeted:
            return margin(logits, labels)
        shift = torch.randint(1, len(prototypes), labels.shape, generator=generator).to(labels.device)
        return margin(logits, (labels + shift) % len(prototypes), targeted=True)


@dataclass(frozen=True, eq=False)
class TripletEmbedding(_Labelled):
    """Classification of clean faces plus the margin-based triplet regulariser MTER.

    Zhong and Deng, ICCV 2019, "Adversarial Learning with Margin-based Triplet Embedding Regularization". For a face x
    and a face t of another person, find x' near x whose embedding comes as close to f(t) as it can; then charge
    [margin + D(f(x'), f(x)) - D(f(x'), f(t))]_+ with all three embeddings learning. From the authors' code: D is the
    Euclidean distance of unit embeddings ("squared" for its square), margin 0.2, weight 1, ten sign steps without a
    random start, classification of both x and t. Ours: t is drawn from the same batch, so that every face serves as
    both; x' stays within PIN's intensity (theirs: ten steps of 1/255, and an early stop); CosFace with fixed
    prototypes in place of ArcFace with learnt ones. At our smaller budget the source's margin asks little: on LFW under
    MobileFaceNet the hinge is above zero for about half of the faces after ten steps, and for hardly any after one.
    Few steps want a margin near 1 (clean faces of two people lie sqrt(2) apart) or a larger training intensity.
    """

    margin: float = 0.2
    weight: float = 1.0
    steps: int = 10
    distance: str = "l2"
    scale: float = 64.0
    class_margin: float = 0.35

    def __post_init__(self) -> None:
        """Refuse a distance that does not exist."""
        super().__post_init__()
        if self.distance not in DISTANCES:
            raise WorkbookError(f"A distance is one of {choices(list(DISTANCES))}, not '{self.distance}': choose one.")

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss of `model` on the faces `index` (b,) and its two parts."""
        images, labels, prototypes = self.batch(model, index)
        target = others(labels, generator)
        with steady(model):
            raw = model(images).float()
            source = F.normalize(raw, dim=1)
            moved = F.normalize(model(self.attack(model, images, source.detach()[target])).float(), dim=1)
        apart = DISTANCES[self.distance]
        hinge = F.relu(self.margin + apart(moved, source) - apart(moved, source[target])).mean()
        known = cosine_margin_loss(raw, prototypes, labels, self.scale, self.class_margin)
        return {"loss": known + self.weight * hinge, "classification": known.detach(), "triplet": hinge.detach()}

    def attack(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        """The images (b, C, H, W), moved towards the embeddings `target` (b, d)."""
        return ascend(
            impersonation(model, target), images, Intensity(self.intensity), inner_attack(self.steps, "clean")
        )


def others(labels: Tensor, generator: torch.Generator) -> Tensor:
    """For each row, a random row (n,) with another label."""
    apart = (labels[:, None] != labels).float().cpu()
    if not apart.any(1).all():
        raise WorkbookError("A batch of triplets holds at least two people, but one came: make the batch larger.")
    return torch.multinomial(apart, 1, generator=generator).squeeze(1).to(labels.device)


def steady(model: nn.Module) -> AbstractContextManager:
    """Batch normalisation with its stored statistics, whatever the model's mode."""
    return evaluating(*(part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)))
