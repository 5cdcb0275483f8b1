"""How far apart features lie: of an image and its attacked copy, and of images of two classes (ANCRA, Figs 1 and 6).

PP is a positive pair (an image and its attacked copy), NP a negative pair (an image and one of another class). Features
are maps averaged over places, (n, C), read at three `PLACES`. A common factor of all features changes every L2 distance
and no answer, so L2 compares networks only in units of the network's own NP (`relative`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor

from lib.attacks import PGD, Linf, Settings
from lib.attacks.budgets import Size
from lib.attacks.objectives import Objective, run_once
from lib.attacks.registry import NamedAttack
from lib.data.examples import LabelledImages
from lib.errors import WorkbookError, choices
from lib.studies.ancra.attacks import EPS, GatedAttack, decisions, on_classifiers
from lib.studies.ancra.classifiers import Gate, GatedClassifier, soft

# behind the last block but one, which no gate stands before; before the last gate; what the linear layer reads
PLACES = ("before any mask", "before the last mask", "features")
# where the source sees a tail: pair, measure -> (bound, whether the tail lies above it)
THRESHOLDS = {("NP", "cosine"): (0.6, True), ("NP", "L2"): (5.0, False)}
THRESHOLDS |= {("PP", "cosine"): (0.95, False), ("PP", "L2"): (2.0, True)}
Gaps = dict[str, dict[str, Tensor]]
TEN_STEPS = PGD.but(steps=10, step=0.007)  # the source's


def other_class(labels: Tensor, seed: int = 0) -> LongTensor:
    """For each of labels (n,) the row of a random image with another label, all of these equally likely: (n,)."""
    labels = labels.cpu().long()
    counts = labels.bincount()
    if (counts > 0).sum() < 2:
        raise WorkbookError(f"Negative pairs need two classes, but all {len(labels)} labels are the same: add another.")
    draw = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    beyond_own = counts.cumsum(0)[labels] + (draw * (len(labels) - counts[labels])).long()
    return labels.argsort(stable=True)[beyond_own % len(labels)]


def pooled(model: GatedClassifier, x: Tensor) -> Tensor:
    """Features (n, len(PLACES), C) of images x (n, 3, H, W), each gated by its own predicted class, on the CPU."""
    if model.gates > 2:
        raise WorkbookError(f"The place before any mask is known for up to 2 gates, not {model.gates}: use fewer.")

    def forward(part: Tensor) -> Tensor:
        stages = model.trunk.blocks
        found = model.outputs(part)
        first = model.tail(stages[-1][:-1](stages[:-1](model.trunk.stem(part)))).mean((2, 3))
        return torch.stack([first, found.plain, found.features], 1)

    return run_once(forward, model, x).cpu()


def chosen(model: GatedClassifier, x: Tensor) -> Tensor:
    """Classes (n, gates) by which the gates take their masks; without gates the model's answers (n, 1). On the CPU."""

    def forward(part: Tensor) -> Tensor:
        heads = model.outputs(part).heads
        return torch.stack([logits.argmax(1) for logits in heads[1:] or heads], 1)

    return run_once(forward, model, x).cpu()


def distances(first: Tensor, second: Tensor) -> dict[str, Tensor]:
    """ "cosine" and "L2" (n, places) of features (n, places, C)."""
    return {"cosine": F.cosine_similarity(first, second, dim=-1), "L2": (first - second).norm(dim=-1)}


def apart(model: GatedClassifier, x: Tensor, gate: Gate | None = None) -> Objective:
    """Turns the features of images away from those of the clean x: an attack on alignment itself, without labels.

    gate: `soft()` by default, through which the attack sees what a change of the predicted class would do.
    """
    reference = run_once(lambda part: model.outputs(part).features, model, x)

    def score(features: Tensor, reference: Tensor) -> Tensor:
        return -F.cosine_similarity(features, reference)

    return Objective((model,), lambda part: model.outputs(part, gate or soft()).features, score, (reference,))


@dataclass(frozen=True)
class ApartAttack(GatedAttack):
    """Climbs the distance of the features itself: see `apart`."""

    def objective(self, model: GatedClassifier, x: Tensor, labels: Tensor) -> Objective:
        """What is climbed; no label is used."""
        return apart(model, x)


FEATURE_ATTACKS: dict[str, NamedAttack] = {
    name: on_classifiers(f"features {name}", knowledge, f"Moves features by PGD: {name}.", run)
    for name, knowledge, run in (
        ("final", "white box", GatedAttack(offset=0)),
        ("total", "adaptive", GatedAttack("total", offset=1)),
        ("soft", "adaptive", GatedAttack("all", soft(), offset=2)),
        ("targeted", "adaptive", GatedAttack("all", soft(), targeted=True, offset=3)),
        ("apart", "adaptive", ApartAttack(offset=4)),
    )
}


def feature_attack(
    model: GatedClassifier,
    examples: LabelledImages,
    attack: str = "final",
    settings: Settings = TEN_STEPS,
    eps: Size = EPS,
    seed: int = 0,
) -> Tensor:
    """Images (n, 3, H, W) of an attack of `FEATURE_ATTACKS`; the source's is "final" with these settings.

    "targeted" goes towards the likeliest wrong class. Each attack has a start of its own, so that a model without
    gates, for which the first three are one, gets as many tries as a model with.
    """
    if attack not in FEATURE_ATTACKS:
        known = choices(list(FEATURE_ATTACKS))
        raise WorkbookError(f"Features are moved by {known}, not {attack!r}: choose one of them.")
    return replace(FEATURE_ATTACKS[attack].run, settings=settings)(model, examples, Linf(eps), seed)


def gaps(
    model: GatedClassifier,
    examples: LabelledImages,
    attacks: Sequence[str] = tuple(FEATURE_ATTACKS),
    settings: Settings = TEN_STEPS,
    seed: int = 0,
) -> Gaps:
    """ "cosine" and "L2" (n, places) of the negative pairs "NP" and of the positive pairs of each attack.

    Those of an attack also say of each image (n,) whether its predicted class "flipped", whether a mask was "switched"
    (a class of `chosen` changed), and whether the answer is "correct"; of an NP, "switched" says that the two differ in
    a mask.
    "worst" takes for each image the attack that left the lowest cosine of features. The NP are the same in all models.
    """
    natural = pooled(model, examples.x)
    answers = decisions(model, examples.x)
    masks = chosen(model, examples.x)
    partner = other_class(examples.labels, seed)
    found = {"NP": distances(natural, natural[partner]) | {"switched": (masks != masks[partner]).any(1)}}
    for name in attacks:
        images = feature_attack(model, examples, name, settings, seed=seed)
        moved = decisions(model, images)
        flags = {"flipped": moved != answers, "correct": moved == examples.labels.cpu()}
        flags["switched"] = (chosen(model, images) != masks).any(1)
        found[name] = distances(natural, pooled(model, images)) | flags
    return found | {"worst": least_aligned([found[name] for name in attacks])}


def least_aligned(pairs: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Of several attacks on the same n images each image's own worst: that with the lowest cosine of features."""
    worst = torch.stack([part["cosine"][:, -1] for part in pairs]).argmin(0)
    return {key: torch.stack([part[key] for part in pairs])[worst, torch.arange(len(worst))] for key in pairs[0]}


def tail(values: Tensor, pair: str, measure: str) -> Tensor:
    """Which pairs lie beyond the source's threshold: bool, shaped as `values`."""
    bound, above = THRESHOLDS[pair, measure]
    return values >= bound if above else values <= bound


def relative(distance: Tensor, negative: Tensor) -> Tensor:
    """L2 distances (seeds, n) in units of the same network's median over its negative pairs (seeds, n)."""
    return distance / negative.median(-1, keepdim=True).values
