"""Classifiers with reverse attention under attackers who know of it, and under the official AutoAttack.

Images x (n, 3, H, W) in [0,1] and labels (n,) give BoolTensors (n,) on the CPU: which images stand. An image stands if
the real model, its gates hard, is right on the clean image and on everything an attack made of it, whatever surrogate
it was made on. So rows can be joined to a worst case per image, and no attack can raise the accuracy.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from lib.attacks import PGD, RANDOM, Linf, Settings, autoattack, in_batches
from lib.attacks.budgets import Size
from lib.attacks.guard import device_of, differentiable, frozen
from lib.attacks.objectives import Objective, run_once
from lib.errors import WorkbookError, choices
from lib.evaluation.classification import worst_case
from lib.models.base import batch_size
from lib.studies.ancra.attacks import EPS, Stands, is_correct
from lib.studies.ancra.classifiers import GatedClassifier, View, bypass, soft, straight_through
from lib.studies.ancra.objectives import gated, likely_wrong

STEPPED = PGD.but(steps=40, step="eps/4")
TEMPERATURES = (0.5, 1.0, 5.0)


def survivors(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    climbs: Iterable[Callable[[Tensor], Objective]],
    settings: Settings = STEPPED,
    eps: Size = EPS,
    seed: int = 0,
) -> Tensor:
    """Images right when clean and after each of `climbs`, every climb with those that are left.

    A climb gives the objective of the images at rows (m,). No score of it is believed: the model judges the images.
    """
    stands, draw, labels = is_correct(model, x, labels), torch.Generator().manual_seed(seed), labels.cpu()
    for climb in climbs:
        rows = stands.nonzero().flatten()
        if len(rows) == 0:
            break
        images = in_batches(climb(rows), x[rows], Linf(eps), settings, generator=draw)
        stands[rows] = is_correct(model, images, labels[rows])
    return stands


def adaptive_plan(temperatures: Sequence[float] = TEMPERATURES) -> dict[str, dict]:
    """The adaptive attacks by name, as keywords of `lib.studies.ancra.objectives.gated`.

    What decides is climbed in place of what follows (A1, A2) or beside it (A3, the source's own); the gate is softened
    (A4), removed (A5), or steered to each of the likeliest wrong classes (A6). With two gates the last auxiliary logits
    stand behind the first one themselves, which weakens A1. A model without gates gets as many attacks on its logits,
    from as many other starts, so that worst cases over all of them compare.
    """
    plan = {
        "A1 last auxiliary": {"heads": "last"},
        "A2 all auxiliary": {"heads": "auxiliary"},
        "A3 total loss": {"heads": "total", "loss": "cross-entropy"},
    }
    plan |= {f"A4 soft, T = {T:g}": {"gate": soft(T)} for T in temperatures}
    plan |= {f"A4 straight-through, T = {T:g}": {"gate": straight_through(T)} for T in temperatures}
    plan["A4 soft, all heads"] = {"heads": "all", "gate": soft()}
    plan["A5 bypassed"] = {"gate": bypass}
    plan["A6 targeted"] = {"heads": "all", "gate": soft(), "loss": "cross-entropy", "targeted": True}
    return plan


def adaptive_attack(
    model: GatedClassifier,
    x: Tensor,
    labels: Tensor,
    attack: str,
    settings: Settings = STEPPED,
    restarts: int = 1,
    targets: int = 9,
    temperatures: Sequence[float] = TEMPERATURES,
    eps: Size = EPS,
    seed: int = 0,
) -> Tensor:
    """Images that one attack of `adaptive_plan` leaves, from `restarts` starts, each judged by the real model.

    targets: classes that the targeted attack tries, the likeliest first, each from one start of each restart.
    """
    plan = adaptive_plan(temperatures)
    if attack not in plan:
        raise WorkbookError(f"The adaptive attacks are {choices(list(plan))}, not {attack!r}: choose one of them.")
    options, labels = plan[attack], labels.cpu()
    aims = labels[:, None]
    if options.get("targeted"):
        aims = likely_wrong(run_once(lambda part: model.outputs(part).heads[-1], model, x).cpu(), labels, targets)
    columns = aims.T.repeat(restarts, 1)
    climbs = (lambda rows, aim=aim: gated(model, aim[rows], **options) for aim in columns)
    return survivors(model, x, labels, climbs, settings, eps, seed + 1000 * list(plan).index(attack))


def adaptive_attacks(model: GatedClassifier, x: Tensor, labels: Tensor, **options: object) -> Stands:
    """Every attack of `adaptive_plan`, each on all images; options as in `adaptive_attack`."""
    plan = adaptive_plan(options.get("temperatures", TEMPERATURES))
    return {attack: adaptive_attack(model, x, labels, attack, **options) for attack in plan}


VIEWS: dict[str, Callable[[GatedClassifier], nn.Module]] = {
    "final": lambda model: model,
    "auxiliary": lambda model: View(model, soft(), auxiliary=True),  # soft, for what stands before the last gate
    "soft": lambda model: View(model, soft()),
}


def official(
    model: GatedClassifier,
    x: Tensor,
    labels: Tensor,
    through: str = "final",
    version: str = "standard",
    iterations: int = 100,
    queries: int = 5000,
    targets: int = 9,
    eps: Size = EPS,
    seed: int = 0,
) -> dict[str, Tensor | Stands | tuple[str, ...]]:
    """The official AutoAttack on the logits of a view: "final" (as the source), "auxiliary" or "soft" (A8).

    version="square" is the black box alone (A7). "stands": what the real model still classifies rightly; "survivors"
    and "warnings": what AutoAttack itself says about the attacked view. A model without gates is its own every view.
    """
    if through not in VIEWS:
        raise WorkbookError(f"AutoAttack goes through {choices(list(VIEWS))}, not {through!r}: choose one of them.")
    view = VIEWS[through](model) if model.gates else model
    found = autoattack(
        view,
        x,
        labels,
        eps,
        version=version,
        iterations=iterations,
        queries=queries,
        targets=targets,
        seed=seed,
        batch=batch_size(None, device_of(model)),
    )
    stands = is_correct(model, x, labels) & is_correct(model, found.images, labels)
    return {"stands": stands, "survivors": found.survivors, "warnings": found.warnings}


def worst(results: Stands) -> Tensor:
    """Images that stand under every attack of `results`."""
    return worst_case(torch.stack(list(results.values())))


def by_budget(
    model: GatedClassifier,
    x: Tensor,
    labels: Tensor,
    budgets: Sequence[tuple[str, int]],
    heads: str = "final",
    loss: str = "margin",
    seed: int = 0,
) -> Tensor:
    """What stands after one climb for each (eps, steps), in steps of eps/4, a single one of eps: (budgets, n)."""
    found = []
    for eps, steps in budgets:
        settings = PGD.but(steps=steps, step="eps" if steps == 1 else "eps/4")
        climb = [lambda rows: gated(model, labels.cpu()[rows], heads, loss=loss)]
        found.append(survivors(model, x, labels, climb, settings, eps, seed))
    return torch.stack(found)


def random_search(
    model: GatedClassifier, x: Tensor, labels: Tensor, points: int = 100, eps: Size = EPS, seed: int = 0
) -> Tensor:
    """What stands after the worst of `points` uniform draws for each image: no gradient attack may do worse."""
    climb = [lambda rows: gated(model, labels.cpu()[rows])]
    return survivors(model, x, labels, climb, RANDOM.but(restarts=points), eps, seed)


def gradient_norms(model: GatedClassifier, x: Tensor, labels: Tensor, heads: str = "final") -> Tensor:
    """L2 norms (n,) of the first gradient of the cross-entropy: where one is 0, an attack on it is blind."""
    goal, norms = gated(model, labels, heads, loss="cross-entropy"), []
    with frozen(model), differentiable():
        for rows in torch.arange(len(x)).split(batch_size(None, goal.device)):
            leaf = x[rows].to(goal.device).requires_grad_()
            (gradient,) = torch.autograd.grad(goal.rows(rows)(leaf).sum(), leaf)
            norms.append(gradient.flatten(1).norm(dim=1).cpu())
    return torch.cat(norms)
