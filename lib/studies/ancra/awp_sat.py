"""The rivals of ANCRA (Table II) that go beyond a base loss: AWP and SAT, and what all of them share.

S2O stands in `s2o`, FairARD in `fair_ard`.

    fit(model, AWP(AdversarialTraining(images, labels)), len(images), recipe)
    sat = SAT(images, labels, warmup=70)
    fit(tracked := sat.tracked(model), sat, len(images), recipe)  # then `tracked.model` is the trained classifier

The inner attack of all is that of `AdversarialTraining`, the same settings for everybody, as in ANCRA's comparison; the
releases of TRADES-AWP and SAT climb the KL divergence instead of the cross-entropy. `__call__` is written out in each
class, as the code of its module is a part of the key of a checkpoint.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn
from torch.func import functional_call

from lib.errors import WorkbookError, choices
from lib.losses.adversarial import divergence
from lib.models.classifiers import Classifier
from lib.studies.ancra.adversarial_training import TINY
from lib.studies.ancra.classifiers import Gate, Outputs, hard
from lib.training.adversarial import AdversarialTraining, AttackedBatch, measures
from lib.training.loop import Metrics


class Tracked(nn.Module):
    """A classifier with numbers that its training keeps up to date, as buffers: so they are in every checkpoint.

    `fit` with several shards ends each step with the mean of the buffers over the shards, which slows a running average
    down: train a tracked model with `shards=1`.
    """

    def __init__(self, model: Classifier, **numbers: Tensor):
        super().__init__()
        self.model = model
        for name, value in numbers.items():
            self.register_buffer(name, value.to(model.fc.weight.device))

    @property
    def gates(self) -> int:
        """Gates of the classifier."""
        return getattr(self.model, "gates", 0)

    @property
    def fc(self) -> nn.Linear:
        """Linear layer of the classifier."""
        return self.model.fc

    def outputs(self, x: Tensor, gate: Gate = hard) -> Outputs:
        """Outputs of the classifier."""
        return self.model.outputs(x, gate)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes) of the classifier."""
        return self.model(x)


def kept_in(model: nn.Module, name: str) -> Tensor:
    """The buffer `name` of a tracked model."""
    if not isinstance(getattr(model, name, None), Tensor):
        raise WorkbookError(f"This loss keeps its {name} in the model: train `loss.tracked(model)`, not the model.")
    return getattr(model, name)


def both(model: nn.Module, examples: AttackedBatch) -> tuple[Tensor, Tensor]:
    """Logits (b, K) of the natural and of the attacked images in float32; each is a pass of its own."""
    gates = getattr(model, "gates", 0)
    if gates:
        raise WorkbookError(f"This rival trains classifiers without gates, but one with {gates} came: pass 0.")
    clean = model(examples.clean)
    attacked = model(examples.attacked)
    return clean.float(), attacked.float()


def check_base(loss: AdversarialTraining, *allowed: str) -> None:
    """Refuse a base that a rival is not defined on."""
    if loss.base not in allowed:
        raise WorkbookError(f"{type(loss).__name__} stands on {choices(allowed)}, not on {loss.base}: change the base.")


class _Measured(nn.Module):
    """The loss as a function of the model's weights, for `functional_call`."""

    def __init__(self, model: nn.Module, loss: AdversarialTraining):
        super().__init__()
        self.model = model
        self.loss = loss

    def forward(self, examples: AttackedBatch) -> Metrics:
        return self.loss.measured(self.model, examples)


@dataclass(frozen=True, eq=False)
class AWP:
    """Adversarial weight perturbation on any loss of this family (Wu, Xia and Wang, NeurIPS 2020).

    Examples are attacked at the weights w. One step of ascent on the same loss gives g, and each weight tensor of two
    or more dimensions moves by gamma ||w|| g / ||g|| (its own norms); the gradient at w + delta is applied to w. The
    ascent leaves no trace in running statistics. gamma: the release takes 0.005 on TRADES and 0.01 on PGD-AT, the
    former after 10 epochs without (ours: from the start). With `shards` each piece of a batch has its own delta.
    """

    loss: AdversarialTraining
    gamma: float = 0.005

    def __post_init__(self) -> None:
        """Refuse a step downhill."""
        if self.gamma < 0:
            raise WorkbookError(
                f"AWP's gamma is a share of each weight's norm, at least 0, not {self.gamma}: raise it."
            )

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """Metrics of `loss` at the perturbed weights."""
        examples = self.loss.examples(model, index, generator)
        measured = _Measured(model, self.loss)
        return functional_call(measured, self.perturbed(measured, examples), (examples,))

    def perturbed(self, measured: nn.Module, examples: AttackedBatch) -> dict[str, Tensor]:
        """w + delta by name, for the weights that move; a gradient passes to w as if delta were fixed."""
        buffers = {name: value.clone() for name, value in measured.named_buffers()}  # the statistics go here
        moved = {name: w for name, w in measured.named_parameters() if w.ndim > 1 and w.requires_grad}
        loss = functional_call(measured, buffers, (examples,))["loss"]
        uphill = torch.autograd.grad(loss, list(moved.values()), materialize_grads=True)
        steps = zip(moved.items(), uphill, strict=True)
        return {name: w + self.gamma * w.detach().norm() / (g.norm() + TINY) * g for (name, w), g in steps}


@dataclass(frozen=True, eq=False, kw_only=True)
class SAT(AdversarialTraining):
    """Self-adaptive training on TRADES (Huang, Zhang and Zhang 2020, Algorithm 1 and its adversarial form).

    Each image has a target t (K,), first the one-hot label; after `warmup` epochs t <- m t + (1 - m) p(clean) whenever
    the image comes. The cross-entropy of the clean image is taken against t with weight max t, of mean 1 over the
    batch; beta KL(p(clean) || p(attacked)) stays. The targets live in the model: train `tracked(model)`. The source
    warms up for 70 of 100 epochs, with the first fall of the rate at 75; an epoch is as many examples as `images` has.
    """

    warmup: float
    momentum: float = 0.9
    beta: float = 6.0

    def __post_init__(self) -> None:
        """Refuse other bases."""
        super().__post_init__()
        check_base(self, "TRADES")
        if self.warmup < 0 or not 0 <= self.momentum <= 1:
            raise WorkbookError(
                "SAT takes a warmup of 0 or more epochs and a momentum in [0,1], "
                f"not {self.warmup} and {self.momentum}: change these."
            )

    def tracked(self, model: Classifier) -> Tracked:
        """The model with one-hot targets (n, K) of all images, and how many examples it has seen."""
        targets = F.one_hot(self.labels.long(), model.fc.out_features).float()
        return Tracked(model, targets=targets, seen=torch.zeros((), dtype=torch.long))

    def __call__(self, model: Tracked, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss on the images `index` (b,), whose targets it moves; and the mean weight before normalisation."""
        return self.measured(model, self.examples(model, index, generator))

    def examples(
        self, model: Tracked, index: LongTensor, generator: torch.Generator
    ) -> tuple[AttackedBatch, LongTensor]:
        """The batch, and which images it shows."""
        return super().examples(model, index, generator), index

    def measured(self, model: Tracked, examples: tuple[AttackedBatch, LongTensor]) -> Metrics:
        """Loss and metrics; moves the targets."""
        batch, rows = examples
        clean, attacked = both(model, batch)
        targets = self.moved(model, rows, clean.detach().softmax(1))
        certain = targets.amax(1)
        known = (certain / certain.mean() * F.cross_entropy(clean, targets, reduction="none")).mean()
        loss = known + self.beta * divergence(clean, attacked).mean()
        return measures(loss, batch.labels, clean, attacked, certainty=certain.mean())

    def moved(self, model: Tracked, rows: LongTensor, probability: Tensor) -> Tensor:
        """Targets (b, K) of this step; they move towards `probability` (b, K) where the warm-up is over."""
        targets = kept_in(model, "targets")
        seen = kept_in(model, "seen")
        rows = rows.to(targets.device)
        if seen >= self.warmup * len(self.images):
            targets[rows] = self.momentum * targets[rows] + (1 - self.momentum) * probability
        seen.add_(len(rows))
        return targets[rows]
