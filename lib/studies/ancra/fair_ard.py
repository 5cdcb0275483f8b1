"""Robust distillation with fair class weights: Fair-ARD (Yue, Mou, Wang and Zhao, NeurIPS 2023), a rival of ANCRA.

A class is hard when its images fall early under the attack. Its least number of steps, averaged over the class, sets
the weight with which the student listens to the teacher there.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor

from lib.attacks.budgets import Linf, Size
from lib.attacks.loop import ascend
from lib.attacks.objectives import cross_entropy
from lib.attacks.settings import PGD, Settings
from lib.errors import WorkbookError
from lib.losses.adversarial import divergence
from lib.models.base import evaluating
from lib.models.classifiers import Classifier
from lib.studies.ancra.awp_sat import Tracked, both, check_base, kept_in
from lib.training.adversarial import AdversarialTraining, AttackedBatch, measures
from lib.training.loop import Metrics

LEAST = 5 / 6
MOST = 5 / 2  # of a class weight, in the release


def steps_survived(
    model: Classifier, x: Tensor, labels: Tensor, eps: Size, settings: Settings, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Attacked images (n, 3, H, W), and at how many of the attack's iterates (n,) the model was right.

    The iterates are those that a gradient is taken at: the start, and each step but the last.
    """
    goal = cross_entropy(model, labels)
    survived = torch.zeros(len(x), device=goal.device)

    def score(logits: Tensor, labels: Tensor, sign: Tensor) -> Tensor:
        survived.add_(logits.argmax(1) == labels)
        return goal.score(logits, labels, sign)

    return ascend(replace(goal, score=score), x, Linf(eps), settings, generator=generator), survived


def class_weights(difficulty: Tensor, fairness: float = 2.0) -> Tensor:
    """Weights (K,): difficulty^-fairness, scaled to mean 1, then cut to [5/6, 5/2] as in the release."""
    raw = (difficulty + 1e-5) ** -fairness
    return (raw / raw.mean()).clamp(LEAST, MOST)


@dataclass(frozen=True, eq=False, kw_only=True)
class FairARD(AdversarialTraining):
    """Fair-ARD: class-weighted KL(teacher(clean) || student(attacked)) at a temperature T, times T^2.

    teacher: an adversarially trained classifier, in eval mode and without gradients. soft: share of that term; the
    rest is the class-weighted cross-entropy of clean images (release: none). The attack climbs the student's
    cross-entropy. `class_weights` are of the student's own steps in its inner attacks, counted over each epoch for the
    next, in buffers of the model (train `tracked(model)`), the first epoch with weights 1.
    The release averages the KL over classes where this sums, as its formula does: its term is K times smaller, its rate
    ten times ANCRA's. Its attack starts from uniform noise, steps by 2/255, and is in training mode.
    """

    teacher: Classifier
    base: str = "PGD-AT"
    fairness: float = 2.0
    temperature: float = 30.0
    soft: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        super().__post_init__()
        check_base(self, "PGD-AT")
        classes = self.teacher.fc.out_features
        if int(self.labels.max()) >= classes:
            raise WorkbookError(
                f"The teacher knows {classes} classes, but labels up to {int(self.labels.max())} came: take another."
            )
        if self.temperature <= 0 or self.fairness < 0 or not 0 <= self.soft <= 1:
            raise WorkbookError(
                "FairARD takes a temperature above 0, a fairness of at least 0 and soft in [0,1], "
                f"not {self.temperature}, {self.fairness} and {self.soft}: change these."
            )

    def tracked(self, model: Classifier) -> Tracked:
        """The student with its class weights (K,) and, of the epoch so far, steps survived and images (K,)."""
        zeros = torch.zeros(model.fc.out_features)
        return Tracked(model, weights=zeros + 1, survived=zeros, count=zeros.clone())

    def __call__(self, model: Tracked, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss on the images `index` (b,), and the largest class weight."""
        return self.measured(model, self.examples(model, index, generator))

    def examples(
        self, model: Classifier, index: LongTensor, generator: torch.Generator
    ) -> tuple[AttackedBatch, Tensor]:
        """Natural images and their attacked copies, and how many steps (b,) they survived."""
        x, y = self.batch(model, index, generator)
        settings = PGD.but(steps=self.steps, step=self.step, start="gaussian")
        attacked, survived = steps_survived(model, x, y, self.eps, settings, generator)
        return AttackedBatch(x, attacked, y), survived

    def measured(self, model: Tracked, examples: tuple[AttackedBatch, Tensor]) -> Metrics:
        """Loss and metrics; counts the steps."""
        batch, survived = examples
        clean, attacked = both(model, batch)
        with evaluating(self.teacher), torch.no_grad():
            taught = self.teacher.to(clean.device)(batch.clean).float()
        weights = self.counted(model, batch.labels, survived)
        apart = self.temperature**2 * divergence(taught / self.temperature, attacked / self.temperature)
        known = F.cross_entropy(clean, batch.labels, reduction="none")
        loss = (weights[batch.labels] * (self.soft * apart + (1 - self.soft) * known)).mean()
        return measures(loss, batch.labels, clean, attacked, heaviest=weights.max())

    def counted(self, model: Tracked, labels: Tensor, survived: Tensor) -> Tensor:
        """Class weights (K,) of this step; after as many examples as there are images come new ones."""
        weights, total, count = (kept_in(model, name) for name in ("weights", "survived", "count"))
        now = weights.clone()
        total.index_add_(0, labels, survived)
        count.index_add_(0, labels, torch.ones_like(survived))
        if count.sum() >= len(self.images):
            weights.copy_(class_weights(total / count.clamp(min=1), self.fairness))
            total.zero_()
            count.zero_()
        return now
