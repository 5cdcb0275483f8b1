"""Adversarial training of classifiers, with ANCRA's two parts as a layer on any of its bases.

Bases: PGD-AT (Madry et al. 2018), TRADES (Zhang et al. 2019), MART (Wang et al. 2020). ANC adds a contrast with a
negative example (ANCRA, eq. 3 and 4); reverse attention is a property of the model (`Classifier.gates`), and every loss
is then taken on the final logits and on each gate's auxiliary logits (Algorithm 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import LongTensor, Tensor

from lib.attacks.budgets import Linf, Size
from lib.attacks.loop import in_batches
from lib.attacks.settings import PGD
from lib.errors import WorkbookError, choices
from lib.losses.adversarial import BASES
from lib.models.base import evaluating
from lib.studies.ancra.classifiers import Classifier, labelled
from lib.studies.ancra.negatives import STRATEGIES, choose
from lib.studies.ancra.objectives import GAMMA, total_loss
from lib.training.batches import pixels_of
from lib.transforms.crops import crop_flip

Metrics = dict[str, Tensor]
CHUNK = 128  # images attacked at once on a CPU: more no longer fit its cache, fewer are slower
TINY = 1e-12  # under the root of a probability


def negative_contrast(clean: Tensor, negative: Tensor, alpha: float = 1.0) -> Tensor:
    """ANC (eq. 3) of logits (n, K): where both are put into one class h, the geometric mean of its probabilities.

    alpha: the share of the push that moves the negative; the rest moves the natural example. The mean over all n.
    """
    ours, theirs = clean.softmax(1), negative.softmax(1)
    h = ours.argmax(1, keepdim=True)
    p, p_o = (part.gather(1, h).squeeze(1) for part in (ours, theirs))
    pushed = alpha * (p.detach() * p_o + TINY).sqrt() + (1 - alpha) * (p * p_o.detach() + TINY).sqrt()
    return (pushed * (h.squeeze(1) == theirs.argmax(1))).mean()


class Examples(NamedTuple):
    """What one step learns from: natural images, attacked ones, negatives (None where unused), and labels."""

    clean: Tensor
    attacked: Tensor | None
    negative: Tensor | None
    labels: Tensor
    negative_labels: Tensor | None


@dataclass(frozen=True, eq=False)
class AdversarialTraining:
    """A loss for `fit`: a base, with asymmetric negative contrast where `zeta` is above 0.

    images (n, 3, H, W), uint8 or in [0,1]; labels (n,) from 0. The inner attack is PGD on `total_loss` in eval mode,
    each image gated by its own prediction, from a start of 0.001 N(0, 1); untargeted for the images and, for
    `negatives="targeted"`, targeted for the negatives, in one loop over both. Defaults are the source's (section IV-A).
    """

    images: Tensor
    labels: LongTensor
    base: str = "TRADES"
    zeta: float = 0.0
    alpha: float = 1.0
    negatives: str = "targeted"
    steps: int = 10
    step: Size = 0.007
    eps: Size = "8/255"
    augment: bool = True

    def __post_init__(self) -> None:
        """Refuse what does not exist or belong together."""
        for name, allowed in {"base": tuple(BASES), "negatives": STRATEGIES}.items():
            if getattr(self, name) not in allowed:
                raise WorkbookError(f"{name} is one of {choices(allowed)}, not '{getattr(self, name)}': choose one.")
        if len(self.images) != len(self.labels):
            raise WorkbookError(f"{len(self.images)} images came with {len(self.labels)} labels: give one each.")
        if self.zeta < 0 or not 0 <= self.alpha <= 1 or self.steps < 1:
            raise WorkbookError(
                "zeta is at least 0, alpha in [0,1] and steps at least 1, "
                f"not {self.zeta}, {self.alpha} and {self.steps}: change these."
            )

    def __call__(self, model: Classifier, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss of `model` on the images `index` (b,), and accuracies of the logits that see no label."""
        return self.measured(model, self.examples(model, index, generator))

    def batch(self, model: Classifier, index: LongTensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Augmented images (b, 3, H, W) and labels (b,) on the model's device."""
        x = pixels_of(self.images, index, model)
        return crop_flip(x, generator) if self.augment else x, self.labels[index.to(self.labels.device)].to(x.device)

    def examples(self, model: Classifier, index: LongTensor, generator: torch.Generator) -> Examples:
        """Natural images, their attacked copies, and their negatives; one attack away from y and towards it."""
        x, y = self.batch(model, index, generator)
        rows = choose(self.negatives, y, generator, self.predicted(model, x)) if self.zeta else None
        away = x if self.base != "natural" else x[:0]
        toward = x[rows] if self.zeta and self.negatives == "targeted" else x[:0]
        moved, labels = torch.cat([away, toward]), torch.cat([y[: len(away)], y[: len(toward)]])
        if len(moved):
            targeted = torch.arange(len(moved), device=x.device) >= len(away)
            moved = self.attack(model, moved, labels, targeted, generator)
        attacked, pulled = (part if len(part) else None for part in (moved[: len(away)], moved[len(away) :]))
        if rows is None:
            return Examples(x, attacked, None, y, None)
        return Examples(x, attacked, x[rows] if pulled is None else pulled, y, y[rows])

    def predicted(self, model: Classifier, x: Tensor) -> Tensor | None:
        """Classes (n,) that the model sees in x, for the strategies that ask."""
        if self.negatives in ("random", "targeted"):
            return None
        with evaluating(model), torch.no_grad():
            return model(x).argmax(1)

    def attack(
        self, model: Classifier, x: Tensor, y: Tensor, targeted: bool | Tensor, generator: torch.Generator
    ) -> Tensor:
        """The inner attack on images x (n, 3, H, W)."""
        settings, batch = PGD.but(steps=self.steps, step=self.step, start="gaussian"), None if x.is_cuda else CHUNK
        goal = total_loss(model, y, targeted)
        return in_batches(goal, x, Linf(self.eps), settings, batch=batch, generator=generator)

    def measured(self, model: Classifier, examples: Examples) -> Metrics:
        """Loss and metrics; each kind of example is a pass of its own, with batch statistics of its own."""
        y = examples.labels
        clean = attacked = negative = None
        if self.base != "PGD-AT" or self.zeta:
            clean = model.outputs(examples.clean, labelled(y))
        if examples.attacked is not None:
            attacked = model.outputs(examples.attacked, labelled(y))
        if examples.negative is not None:
            negative = model.outputs(examples.negative, labelled(examples.negative_labels))
        passes = (clean, attacked, negative)
        heads = [self.on_head([found and found.heads[i] for found in passes], y) for i in range(model.gates + 1)]
        loss = heads[0] + GAMMA * torch.stack(heads[1:]).mean() if model.gates else heads[0]
        first = min(model.gates, 1)  # the first gate's logits: all behind it have passed the gate of the label
        return measures(loss, y, *(found and found.heads[first] for found in (clean, attacked)))

    def on_head(self, logits: Sequence[Tensor | None], labels: Tensor) -> Tensor:
        """The loss (eq. 4) of one set of logits: the final ones, or a gate's."""
        clean, attacked, negative = (part if part is None else part.float() for part in logits)
        value = BASES[self.base](clean, attacked, labels)
        return value if negative is None else value + self.zeta * negative_contrast(clean, negative, self.alpha)


def measures(loss: Tensor, labels: Tensor, clean: Tensor | None, attacked: Tensor | None, **more: Tensor) -> Metrics:
    """What `fit` notes: the loss, accuracies on natural and attacked images from logits (n, K), and `more`."""
    seen = {name: part for name, part in (("accuracy", clean), ("accuracy attacked", attacked)) if part is not None}
    right = {name: (logits.argmax(1) == labels).float().mean() for name, logits in seen.items()}
    return {"loss": loss} | right | {name: value.detach() for name, value in more.items()}
