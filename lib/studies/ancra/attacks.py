"""Classifiers with reverse attention under ANCRA's own attacks (Tables II, III, V, VII, X, Fig 7).

Examples (`LabelledImages`, n of them) give BoolTensors (n,) on the CPU: which images the real model, its gates
hard, classifies rightly. As in the source, attacks take all images, and one that an attack has *corrected* counts as
robust: so can an accuracy under attack rise above the clean one. `lib.studies.ancra.adaptive_attacks` judges otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lib.attacks import PGD, Linf, Settings, ascend, in_batches
from lib.attacks.budgets import Budget
from lib.attacks.objectives import Objective, run_once
from lib.attacks.registry import NamedAttack, register
from lib.data.examples import LabelledImages
from lib.errors import WorkbookError, choices
from lib.models.classifiers import decisions, is_correct
from lib.studies.ancra.classifiers import Gate, GatedClassifier, View, bypass, hard
from lib.studies.ancra.objectives import batch_margin, gated, likely_wrong

Correct = dict[str, Tensor]  # attack -> (n,) bool, answered correctly
EPS = "8/255"


@dataclass(frozen=True)
class GatedAttack:
    """PGD on a classifier with gates: what is climbed (keywords of `gated`), and how.

    targeted: towards the likeliest wrong class. offset: added to the seed in thousands, so that each attack of a family
    has a start of its own.
    """

    heads: str = "final"
    gate: Gate = hard
    loss: str = "cross-entropy"
    targeted: bool = False
    settings: Settings = PGD
    offset: int = 0

    def __call__(self, model: GatedClassifier, examples: LabelledImages, budget: Budget, seed: int = 0) -> Tensor:
        """Attacked images, shaped as `examples.x`."""
        objective = self.objective(model, examples.x, self.aims(model, examples))
        return in_batches(objective, examples.x, budget, self.settings, generator=self.draws(seed))

    def objective(self, model: GatedClassifier, x: Tensor, labels: Tensor) -> Objective:
        """What is climbed: away from labels (n,), or towards them where `targeted`."""
        return gated(model, labels, self.heads, self.gate, self.loss, self.targeted)

    def aims(self, model: GatedClassifier, examples: LabelledImages) -> Tensor:
        """Labels (n,) of the images, or the likeliest wrong classes where `targeted`."""
        if not self.targeted:
            return examples.labels
        logits = run_once(lambda part: model.outputs(part).heads[-1], model, examples.x)
        return likely_wrong(logits, examples.labels, 1)[:, 0]

    def draws(self, seed: int) -> torch.Generator:
        """The attack's own random numbers."""
        return torch.Generator().manual_seed(seed + 1000 * self.offset)


@dataclass(frozen=True)
class SummedAttack(GatedAttack):
    """The attack of the source's code, which couples the images of each batch: see `batch_margin`."""

    batch: int = 128

    def __call__(self, model: GatedClassifier, examples: LabelledImages, budget: Budget, seed: int = 0) -> Tensor:
        """Attacked images, shaped as `examples.x`."""
        draw = self.draws(seed)
        pairs = zip(examples.x.split(self.batch), examples.labels.split(self.batch), strict=True)
        parts = [ascend(batch_margin(model, y), x, budget, self.settings, generator=draw) for x, y in pairs]
        return torch.cat(parts)


def on_classifiers(name: str, knowledge: str, says: str, run: GatedAttack) -> NamedAttack:
    """A registered attack on classifiers; the registry calls it by the source's name and its own."""
    return register(NamedAttack(f"ANCRA {name}", "classifier", knowledge, says, run))


SUMMED = "C&W-20 summed"
# the source's attacks, all from a uniform start (also FGSM, in its code); "C&W" is a margin PGD, not Carlini and
# Wagner's attack: 40 steps in section IV-A, 20 in its code, which also sums the margin over the batch
SOURCE: dict[str, NamedAttack] = {
    name: on_classifiers(name, "white box", f"ANCRA's {name}, climbing the final logits from a uniform start.", run)
    for name, run in {
        "FGSM": GatedAttack(settings=PGD.but(steps=1, step=EPS)),
        "PGD": GatedAttack(settings=PGD.but(steps=40, step=0.007)),
        "C&W": GatedAttack(loss="margin", settings=PGD.but(steps=40, step=0.007)),
        "C&W-20": GatedAttack(loss="margin", settings=PGD.but(steps=20, step=0.007)),
        "MIM": GatedAttack(settings=PGD.but(steps=40, step=0.007, decay=1.0)),
        SUMMED: SummedAttack(loss="margin", settings=PGD.but(steps=20, step=0.007)),
    }.items()
}


def correct_by_output(model: GatedClassifier, examples: LabelledImages) -> Correct:
    """Correct answers of Table X's outputs: the last auxiliary P, the final P', and P'' with the gates removed."""
    parts = {"auxiliary P": View(model, auxiliary=True), "final P'": model, "final without RA P''": View(model, bypass)}
    return {name: is_correct(part, examples.x, examples.labels) for name, part in parts.items()}


def agreement(model: GatedClassifier, x: Tensor) -> Tensor:
    """Where the final answer is that of the last auxiliary logits, which know no last gate."""
    return decisions(model, x) == decisions(View(model, auxiliary=True), x)


def features_of(model: GatedClassifier, x: Tensor) -> Tensor:
    """Features (n, C) behind the last gate, on the CPU (Figs 4 and 5)."""
    return run_once(lambda part: model.outputs(part).features, model, x).cpu()


def source_images(
    model: GatedClassifier,
    examples: LabelledImages,
    attack: str = "PGD",
    heads: str = "final",
    steps: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Images (n, 3, H, W) of an attack of `SOURCE` within 8/255.

    heads="total" makes it the source's adaptive attack (Table V). steps: others than its own (100 in Table VII).
    """
    if attack not in SOURCE:
        raise WorkbookError(f"The source's attacks are {choices(list(SOURCE))}, not {attack!r}: choose one.")
    run = replace(SOURCE[attack].run, heads=heads)
    run = run if steps is None else replace(run, settings=run.settings.but(steps=steps))
    return run(model, examples, Linf(EPS), seed)


def source_attacks(
    model: GatedClassifier,
    examples: LabelledImages,
    attacks: Sequence[str] = ("FGSM", "PGD", "C&W"),
    heads: str = "final",
    steps: int | None = None,
    seed: int = 0,
) -> Correct:
    """ "Nat" and the source's attacks, as it judges them: by the attacked image alone (Tables II, III, V, VII, Fig 7).

    steps: for all but FGSM.
    """
    correct = {"Nat": is_correct(model, examples.x, examples.labels)}
    for name in attacks:
        images = source_images(model, examples, name, heads, None if name == "FGSM" else steps, seed)
        correct[name] = is_correct(model, images, examples.labels)
    return correct


def transfer(
    source: GatedClassifier,
    targets: Mapping[str, GatedClassifier],
    examples: LabelledImages,
    attack: str = "PGD",
    steps: int | None = None,
    seed: int = 0,
) -> Correct:
    """Images made on `source`, judged on each of `targets` (Table VII)."""
    images = source_images(source, examples, attack, steps=steps, seed=seed)
    return {name: is_correct(target, images, examples.labels) for name, target in targets.items()}
