"""Classifiers with reverse attention under attackers who know of it, and under the official AutoAttack.

Examples (`LabelledImages`, n of them) give BoolTensors (n,) on the CPU: which images are correct. One is if
the real model, its gates hard, is right on the clean image and on everything an attack made of it, whatever surrogate
it was made on. So rows can be joined to a worst case per image, and no attack can raise the accuracy.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lib.attacks import PGD, RANDOM, Linf, Settings, autoattack, in_batches
from lib.attacks.budgets import Budget, Size
from lib.attacks.guard import device_of, differentiable, frozen
from lib.attacks.objectives import Objective, run_once
from lib.attacks.registry import NamedAttack
from lib.data.examples import LabelledImages
from lib.errors import WorkbookError, choices
from lib.models.base import batch_size
from lib.studies.ancra.attacks import EPS, Correct, GatedAttack, is_correct, on_classifiers
from lib.studies.ancra.classifiers import GatedClassifier, View, bypass, soft, straight_through
from lib.studies.ancra.objectives import gated, likely_wrong

STEPPED = PGD.but(steps=40, step="eps/4")
TEMPERATURES = (0.5, 1.0, 5.0)


def correct_after(
    model: nn.Module,
    examples: LabelledImages,
    climbs: Iterable[Callable[[Tensor], Objective]],
    settings: Settings = STEPPED,
    eps: Size = EPS,
    seed: int = 0,
) -> Tensor:
    """Images correct when clean and after each of `climbs`, every climb with those that are left."""
    return climbed(model, examples, climbs, Linf(eps), settings, torch.Generator().manual_seed(seed))[1]


def climbed(
    model: nn.Module,
    examples: LabelledImages,
    climbs: Iterable[Callable[[Tensor], Objective]],
    budget: Budget,
    settings: Settings,
    draws: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The images (n, 3, H, W) that broke, or the last ones that did not; and which are still answered correctly (n,).

    A climb gives the objective of the images at rows (m,). No score of it is believed: the model judges the images.
    """
    images = examples.x.clone()
    labels = examples.labels.cpu()
    correct = is_correct(model, examples.x, labels)
    for climb in climbs:
        rows = correct.nonzero().flatten()
        if len(rows) == 0:
            break
        moved = in_batches(climb(rows), examples.x[rows], budget.rows(rows), settings, generator=draws)
        images[rows] = moved
        correct[rows] = is_correct(model, moved, labels[rows])
    return images, correct


@dataclass(frozen=True)
class AdaptiveAttack(GatedAttack):
    """A `GatedAttack` from several starts, or towards several classes, each climb with the images that are left.

    targets: classes that a targeted attack tries, the likeliest first, each from one start of each restart.
    """

    loss: str = "margin"
    settings: Settings = STEPPED
    restarts: int = 1
    targets: int = 9

    def __call__(self, model: GatedClassifier, examples: LabelledImages, budget: Budget, seed: int = 0) -> Tensor:
        """Attacked images, shaped as `examples.x`."""
        return self.climbed(model, examples, budget, seed)[0]

    def climbed(
        self, model: GatedClassifier, examples: LabelledImages, budget: Budget, seed: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Attacked images, and which of them the real model still answers correctly (n,)."""
        aims = self.columns(model, examples).repeat(self.restarts, 1)
        climbs = (lambda rows, aim=aim: self.objective(model, examples.x[rows], aim[rows]) for aim in aims)
        return climbed(model, examples, climbs, budget, self.settings, self.draws(seed))

    def columns(self, model: GatedClassifier, examples: LabelledImages) -> Tensor:
        """What each climb aims at: labels (1, n), or the likeliest wrong classes (targets, n)."""
        labels = examples.labels.cpu()
        if not self.targeted:
            return labels[None]
        logits = run_once(lambda part: model.outputs(part).heads[-1], model, examples.x).cpu()
        return likely_wrong(logits, labels, self.targets).T


# What decides is climbed in place of what follows (A1, A2) or beside it (A3, the source's own); the gate is softened
# (A4), removed (A5), or steered to each of the likeliest wrong classes (A6). With two gates the last auxiliary logits
# stand behind the first one themselves, which weakens A1. A model without gates gets as many attacks on its logits,
# from as many other starts, so that worst cases over all of them compare.
PLANNED = {
    "A1 last auxiliary": {"heads": "last"},
    "A2 all auxiliary": {"heads": "auxiliary"},
    "A3 total loss": {"heads": "total", "loss": "cross-entropy"},
    **{f"A4 soft, T = {T:g}": {"gate": soft(T)} for T in TEMPERATURES},
    **{f"A4 straight-through, T = {T:g}": {"gate": straight_through(T)} for T in TEMPERATURES},
    "A4 soft, all heads": {"heads": "all", "gate": soft()},
    "A5 bypassed": {"gate": bypass},
    "A6 targeted": {"heads": "all", "gate": soft(), "loss": "cross-entropy", "targeted": True},
}
ADAPTIVE: dict[str, NamedAttack] = {
    name: on_classifiers(
        name, "adaptive", f"Climbs what decides behind reverse attention: {name[3:]}.", AdaptiveAttack(offset=at, **how)
    )
    for at, (name, how) in enumerate(PLANNED.items())
}


def adaptive_attack(
    model: GatedClassifier, examples: LabelledImages, attack: str, *, eps: Size = EPS, seed: int = 0, **changes: object
) -> Tensor:
    """Images (n,) that the real model answers correctly after one attack of `ADAPTIVE`.

    changes: fields of `AdaptiveAttack`, such as settings, restarts and targets.
    """
    if attack not in ADAPTIVE:
        raise WorkbookError(f"The adaptive attacks are {choices(list(ADAPTIVE))}, not {attack!r}: choose one of them.")
    return replace(ADAPTIVE[attack].run, **changes).climbed(model, examples, Linf(eps), seed)[1]


def adaptive_attacks(model: GatedClassifier, examples: LabelledImages, **options: object) -> Correct:
    """Every attack of `ADAPTIVE`, each on all images; options as in `adaptive_attack`."""
    return {attack: adaptive_attack(model, examples, attack, **options) for attack in ADAPTIVE}


VIEWS: dict[str, Callable[[GatedClassifier], nn.Module]] = {
    "final": lambda model: model,
    "auxiliary": lambda model: View(model, soft(), auxiliary=True),  # soft, for what stands before the last gate
    "soft": lambda model: View(model, soft()),
}


def official(
    model: GatedClassifier,
    examples: LabelledImages,
    through: str = "final",
    *,
    eps: Size = EPS,
    seed: int = 0,
    **options: object,
) -> dict[str, Tensor | Correct | tuple[str, ...]]:
    """The official AutoAttack on the logits of a view: "final" (as the source), "auxiliary" or "soft" (A8).

    options: fields of `AutoAttackSettings`; version="square" is the black box alone (A7). "correct": what the real
    model still classifies rightly; "survivors" and "warnings": what AutoAttack itself says about the attacked view. A
    model without gates is its own every view.
    """
    if through not in VIEWS:
        raise WorkbookError(f"AutoAttack goes through {choices(list(VIEWS))}, not {through!r}: choose one of them.")
    view = VIEWS[through](model) if model.gates else model
    batch = batch_size(None, device_of(model))
    found = autoattack(view, examples.x, examples.labels, eps, seed=seed, batch=batch, **options)
    correct = is_correct(model, examples.x, examples.labels) & is_correct(model, found.images, examples.labels)
    return {"correct": correct, "survivors": found.survivors, "warnings": found.warnings}


def correct_under_all(correct: Correct) -> Tensor:
    """Images answered correctly under every attack: of masks of one shape, such as (seeds, n)."""
    return torch.stack(list(correct.values())).all(0)


def correct_by_budget(
    model: GatedClassifier,
    examples: LabelledImages,
    budgets: Sequence[tuple[str, int]],
    heads: str = "final",
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """What is correct after one climb for each (eps, steps), in steps of eps/4, a single one of eps: (budgets, n)."""
    found = []
    for eps, steps in budgets:
        settings = PGD.but(steps=steps, step="eps" if steps == 1 else "eps/4")
        climb = [lambda rows: gated(model, examples.labels.cpu()[rows], heads, loss=loss)]
        found.append(correct_after(model, examples, climb, settings, eps, seed))
    return torch.stack(found)


def random_search(
    model: GatedClassifier, examples: LabelledImages, points: int = 100, eps: Size = EPS, seed: int = 0
) -> Tensor:
    """What is correct after the worst of `points` uniform draws for each image: no gradient attack may do worse."""
    climb = [lambda rows: gated(model, examples.labels.cpu()[rows])]
    return correct_after(model, examples, climb, RANDOM.but(restarts=points), eps, seed)


def gradient_norms(model: GatedClassifier, examples: LabelledImages, heads: str = "final") -> Tensor:
    """L2 norms (n,) of the first gradient of the cross-entropy: where one is 0, an attack on it is blind."""
    goal = gated(model, examples.labels, heads, loss="cross-entropy")
    norms = []
    with frozen(model), differentiable():
        for rows in torch.arange(len(examples)).split(batch_size(None, goal.device)):
            leaf = examples.x[rows].to(goal.device).requires_grad_()
            (gradient,) = torch.autograd.grad(goal.rows(rows)(leaf).sum(), leaf)
            norms.append(gradient.flatten(1).norm(dim=1).cpu())
    return torch.cat(norms)
