"""ANCRA's two parts as a layer on the adversarial training of any base.

ANC adds a contrast with a negative example (ANCRA, eq. 3 and 4); reverse attention is a property of the model
(`GatedClassifier.gates`), and every loss is then taken on the final logits and on each gate's auxiliary logits
(Algorithm 1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import LongTensor, Tensor

from lib.attacks.objectives import Objective
from lib.errors import WorkbookError, choices
from lib.losses.adversarial import BASES
from lib.models.base import evaluating
from lib.studies.ancra.classifiers import GatedClassifier, labelled
from lib.studies.ancra.negatives import STRATEGIES, choose
from lib.studies.ancra.objectives import GAMMA, total_loss
from lib.training.adversarial import AdversarialTraining, measures
from lib.training.loop import Metrics

TINY = 1e-12  # under the root of a probability


def negative_contrast(clean: Tensor, negative: Tensor, alpha: float = 1.0) -> Tensor:
    """ANC (eq. 3) of logits (n, K): where both are put into one class h, the geometric mean of its probabilities.

    alpha: the share of the push that moves the negative; the rest moves the natural example. The mean over all n.
    """
    ours = clean.softmax(1)
    theirs = negative.softmax(1)
    h = ours.argmax(1, keepdim=True)
    p = ours.gather(1, h).squeeze(1)
    p_o = theirs.gather(1, h).squeeze(1)
    pushed = alpha * (p.detach() * p_o + TINY).sqrt() + (1 - alpha) * (p * p_o.detach() + TINY).sqrt()
    return (pushed * (h.squeeze(1) == theirs.argmax(1))).mean()


class ContrastedBatch(NamedTuple):
    """What one step learns from: natural images, attacked ones, negatives (None where unused), and labels."""

    clean: Tensor
    attacked: Tensor | None
    negative: Tensor | None
    labels: Tensor
    negative_labels: Tensor | None


@dataclass(frozen=True, eq=False, kw_only=True)
class ANCRATraining(AdversarialTraining):
    """A base with asymmetric negative contrast where `zeta` is above 0, for a model with or without gates.

    The inner attack is PGD on `total_loss`, each image gated by its own prediction; untargeted for the images and, for
    `negatives="targeted"`, targeted for the negatives, in one loop over both. Defaults are the source's (section IV-A).
    """

    zeta: float = 0.0
    alpha: float = 1.0
    negatives: str = "targeted"

    def __post_init__(self) -> None:
        """Refuse what does not exist or belong together."""
        super().__post_init__()
        if self.negatives not in STRATEGIES:
            raise WorkbookError(f"negatives is one of {choices(STRATEGIES)}, not '{self.negatives}': choose one.")
        if self.zeta < 0 or not 0 <= self.alpha <= 1:
            raise WorkbookError(
                f"zeta is at least 0 and alpha in [0,1], not {self.zeta} and {self.alpha}: change these."
            )

    def examples(self, model: GatedClassifier, index: LongTensor, generator: torch.Generator) -> ContrastedBatch:
        """Natural images, their attacked copies, and their negatives; one attack away from y and towards it."""
        if not self.zeta:
            plain = super().examples(model, index, generator)
            return ContrastedBatch(plain.clean, plain.attacked, None, plain.labels, None)
        x, y = self.batch(model, index, generator)
        partner = choose(self.negatives, y, generator, self.predicted(model, x))
        away = x if self.base != "natural" else x[:0]
        toward = x[partner] if self.negatives == "targeted" else x[:0]
        moved = torch.cat([away, toward])
        if len(moved):
            labels = torch.cat([y[: len(away)], y[: len(toward)]])
            targeted = torch.arange(len(moved), device=x.device) >= len(away)
            moved = self.attack(self.objective(model, labels, targeted), moved, generator)
        attacked = moved[: len(away)] if len(away) else None
        negative = moved[len(away) :] if len(toward) else x[partner]
        return ContrastedBatch(x, attacked, negative, y, y[partner])

    def predicted(self, model: GatedClassifier, x: Tensor) -> Tensor | None:
        """Classes (n,) that the model sees in x, for the strategies that ask."""
        if self.negatives in ("random", "targeted"):
            return None
        with evaluating(model), torch.no_grad():
            return model(x).argmax(1)

    def objective(self, model: GatedClassifier, labels: Tensor, targeted: bool | Tensor = False) -> Objective:
        """What the inner attack climbs, the total loss; towards the labels where `targeted`."""
        return total_loss(model, labels, targeted)

    def measured(self, model: GatedClassifier, examples: ContrastedBatch) -> Metrics:
        """Loss and metrics; each kind of example is a pass of its own, gated by its labels."""
        y = examples.labels
        clean = attacked = negative = None
        if self.base != "PGD-AT" or self.zeta:
            clean = model.outputs(examples.clean, labelled(y))
        if examples.attacked is not None:
            attacked = model.outputs(examples.attacked, labelled(y))
        if examples.negative is not None:
            negative = model.outputs(examples.negative, labelled(examples.negative_labels))
        passes = (clean, attacked, negative)
        heads = [self.on_head([outputs and outputs.heads[i] for outputs in passes], y) for i in range(model.gates + 1)]
        loss = heads[0] + GAMMA * torch.stack(heads[1:]).mean() if model.gates else heads[0]
        first = min(model.gates, 1)  # the first gate's logits: all behind it have passed the gate of the label
        return measures(loss, y, *(outputs and outputs.heads[first] for outputs in (clean, attacked)))

    def on_head(self, logits: Sequence[Tensor | None], labels: Tensor) -> Tensor:
        """The loss (eq. 4) of one set of logits: the final ones, or a gate's."""
        clean, attacked, negative = (z if z is None else z.float() for z in logits)
        value = BASES[self.base](clean, attacked, labels)
        return value if negative is None else value + self.zeta * negative_contrast(clean, negative, self.alpha)
