"""What an attack on a classifier with reverse attention may climb (ANCRA): one function, and its rows by name.

A hard gate has no gradient: it follows the argmax of the auxiliary logits P, which fix the answer, while the loss of
the final logits P' cannot see them. An attacker who knows this climbs P, or softens the gate.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from lib.attacks.objectives import Objective, cross_entropy, margin
from lib.errors import WorkbookError, choices
from lib.studies.ancra.classifiers import Gate, GatedClassifier, Outputs, hard

GAMMA = 2.0  # weight of the mean of the auxiliary losses, in training and in the source's attack (section IV-A)
LOSSES: dict[str, Callable[..., Objective]] = {"margin": margin, "cross-entropy": cross_entropy}
# of g > 0 gates: the weight of the final logits, then that of each gate's auxiliary logits
HEADS: dict[str, Callable[[int], tuple[float, ...]]] = {
    "final": lambda g: (1.0,) + (0.0,) * g,
    "last": lambda g: (0.0,) * g + (1.0,),
    "auxiliary": lambda g: (0.0,) + (1.0,) * g,
    "all": lambda g: (1.0,) * (g + 1),
    "total": lambda g: (1.0,) + (GAMMA / g,) * g,
}


def gated(
    model: GatedClassifier,
    labels: Tensor,
    heads: str = "final",
    gate: Gate = hard,
    loss: str = "margin",
    targeted: bool | Tensor = False,
) -> Objective:
    """The weighted sum of `loss` over the classifier's logits, its gates set by `gate`, per image.

    heads: "final", P'; "last", the last gate's P, which the last gate leaves alone; "auxiliary", all P; "all", P' and
    all P; "total", P' and GAMMA times the mean over the P. loss: "margin" or "cross-entropy" of labels (n,), or toward
    them where `targeted` (a flag, or one per image). Without gates every choice of heads is the logits.
    """
    for name, allowed, given in (("heads", HEADS, heads), ("loss", LOSSES, loss)):
        if given not in allowed:
            raise WorkbookError(f"{name} is one of {choices(list(allowed))}, not {given!r}: choose one of them.")
    weights = HEADS[heads](model.gates) if model.gates else (1.0,)
    single = LOSSES[loss](model, labels, targeted)

    def score(found: Outputs, *references: Tensor) -> Tensor:
        pairs = zip(weights, found.heads, strict=True)
        return sum(weight * single.score(logits, *references) for weight, logits in pairs if weight)

    return replace(single, forward=partial(model.outputs, gate=gate), score=score)


def total_loss(model: GatedClassifier, labels: Tensor, targeted: bool | Tensor = False) -> Objective:
    """The loss that ANCRA's attacks climb, per image: cross-entropy of P' plus GAMMA times the mean over the P.

    Labels (n,); where `targeted` (a flag, or one per image) its negative, towards the label. For a model without gates
    this is the cross-entropy.
    """
    return gated(model, labels, "total", loss="cross-entropy", targeted=targeted)


def batch_margin(model: nn.Module, labels: Tensor) -> Objective:
    """The "C&W" loss as the source's code has it: the margin summed over the batch, cut at zero.

    The sum stops at zero where single images should: once the broken images outweigh the others, the whole batch has
    no gradient left. Each row's score is its share of the one value, so the batch cannot be cut.
    """
    single = margin(model, labels)

    def score(logits: Tensor, *references: Tensor) -> Tensor:
        value = single.score(logits, *references).sum().clamp(max=0)
        return value.expand(len(logits)) / len(logits)

    return replace(single, score=score, coupled=True)


def likely_wrong(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` wrong classes with the highest logits (n, K), best first: (n, count); K - 1 where these are fewer."""
    others = logits.scatter(1, labels[:, None].to(logits.device), -torch.inf)
    return others.topk(min(count, logits.shape[1] - 1), dim=1).indices
