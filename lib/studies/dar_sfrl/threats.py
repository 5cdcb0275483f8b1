"""What a classifier answers in the three threat models, and what AutoAttack and longer attacks leave (page 10).

    ready = transferred(surrogate, x, labels)  # images made once, for every method
    found = answers(probe, "transfer", x, labels, ready=ready)  # {"clean": (n,), "predictions": (attacks, n), ...}

An image that is misjudged already is left as it is where the attacker sees the probe (threat model "end to end"): there
is nothing to gain on it, and most of the time of an attack is saved.
"""

import torch
import torch.nn.functional as F
from torch import BoolTensor, LongTensor, Tensor, nn

from lib.attacks.objectives import Objective
from lib.attacks.settings import Settings
from lib.errors import WorkbookError
from lib.models.base import batch_size, evaluating
from lib.studies.dar_sfrl.attacks import (
    EPS,
    SEVEN,
    attack,
    autoattacked,
    convergence,
    objective_for,
    perturbation_statistics,
)

NAMES = tuple(SEVEN)


@torch.no_grad()
def outputs_of(model: nn.Module, images: Tensor) -> Tensor:
    """What a model makes of images (n, 3, H, W) in [0,1], in batches, in eval mode, on the CPU."""
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model(part.to(device)).cpu() for part in images.split(batch_size(None, device))])


def settings_at(name: str, eps: str) -> Settings:
    """One of the seven attacks; within another budget than 8/255 its step stays a quarter of the budget."""
    return SEVEN[name] if eps == EPS else SEVEN[name].but(step="eps/4")


def climbs(goal: Objective, x: Tensor, names: tuple[str, ...], eps: str = EPS) -> dict[str, Tensor]:
    """Images after each of the named attacks on a goal whose model does not draw.

    Two names of one attack (UPGD and MIFGSM; EOTPGD, which averages equal gradients, and PGD) are climbed once.
    """
    plans = {name: settings_at(name, eps).but(eot=1) for name in names}
    done = {settings: attack(goal, x, settings, eps) for settings in dict.fromkeys(plans.values())}
    return {name: done[plans[name]] for name in names}


def transferred(
    surrogate: nn.Module, x: Tensor, labels: LongTensor, names: tuple[str, ...] = NAMES, eps: str = EPS
) -> dict[str, Tensor]:
    """Images (n, 3, H, W) made on a surrogate classifier by each attack: threat model "transfer"."""
    return climbs(objective_for("transfer", surrogate, labels, surrogate), x, names, eps)


def attacked_images(
    probe: nn.Module, threat: str, x: Tensor, labels: LongTensor, names: tuple[str, ...] = NAMES, eps: str = EPS
) -> dict[str, Tensor]:
    """Images after each attack on a probe, "released" or "end to end"; in the latter only those judged rightly move."""
    chosen = torch.ones(len(x), dtype=torch.bool)
    if threat == "end to end":
        chosen = outputs_of(probe, x).argmax(1) == labels
    found = {name: x.clone() for name in names}
    if chosen.any():
        goal = objective_for(threat, probe, labels[chosen])
        for name, images in climbs(goal, x[chosen], names, eps).items():
            found[name][chosen] = images
    return found


def answers(
    probe: nn.Module,
    threat: str,
    x: Tensor,
    labels: LongTensor,
    names: tuple[str, ...] = NAMES,
    ready: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What a classifier says of n images, clean and after each of the named attacks at 8/255, in a threat model.

    ready: the images of the threat model "transfer". Gives "clean" (n,) and "predictions" (attacks, n), the classes;
    "clean chances" and "chances", the probabilities of the true class; and of each perturbation its "mean" in 1/255,
    the share "positive" of its values and its "cosine" with a constant image, each (attacks, n).
    """
    if (threat == "transfer") == (ready is None):
        raise WorkbookError("Images made beforehand belong to the threat model 'transfer', and to no other: give both.")
    moved = ready or attacked_images(probe, threat, x, labels, names)
    clean = outputs_of(probe, x)
    logits = torch.stack([outputs_of(probe, moved[name]) for name in names])
    told = [perturbation_statistics(x, moved[name]) for name in names]
    rows = torch.arange(len(x))
    found = {"clean": clean.argmax(1), "predictions": logits.argmax(2)}
    found |= {"clean chances": clean.softmax(1)[rows, labels], "chances": logits.softmax(2)[:, rows, labels]}
    return found | {key: torch.stack([entry[key] for entry in told]) for key in told[0]}


def survivors(found: dict[str, Tensor], labels: LongTensor) -> BoolTensor:
    """Which images (n,) are right when clean and after every attack."""
    return (found["clean"] == labels) & (found["predictions"] == labels).all(0)


def after_autoattack(
    probe: nn.Module, x: Tensor, labels: LongTensor, alive: BoolTensor, iterations: int, queries: int
) -> BoolTensor:
    """Which of the images (n,) that are still right (`alive`) also withstand AutoAttack through the whole model."""
    alive = alive.clone()
    if alive.any():
        alive[alive.clone()] = autoattacked(probe, x[alive], labels[alive], iterations, queries).robust.cpu()
    return alive


def strengths_curve(probe: nn.Module, x: Tensor, labels: LongTensor, strengths: tuple[str, ...]) -> Tensor:
    """Which images are right after PGD end to end in budgets such as "2/255", ten steps of a quarter; (budgets, n)."""
    images = [attacked_images(probe, "end to end", x, labels, ("PGD",), eps)["PGD"] for eps in strengths]
    return torch.stack([outputs_of(probe, moved).argmax(1) == labels for moved in images])


def steps_curve(
    probe: nn.Module, x: Tensor, labels: LongTensor, steps: tuple[int, ...], long: tuple[int, int], eps: str = EPS
) -> Tensor:
    """Which images are right after PGD of so many steps, and last after `long`: (steps, restarts); (plans, n) bool."""
    right = outputs_of(probe, x).argmax(1) == labels
    found = torch.zeros(len(steps) + 1, len(x), dtype=torch.bool)
    if right.any():
        short = convergence(probe, x[right], labels[right], steps, eps=eps)
        most = convergence(probe, x[right], labels[right], long[:1], long[1], eps)
        found[:, right] = torch.stack([*short.values(), *most.values()]).cpu()
    return found


def strength_grid(
    probe: nn.Module,
    surrogate: nn.Module,
    x: Tensor,
    labels: LongTensor,
    strengths: tuple[int, ...],
    threats: tuple[str, ...],
) -> Tensor:
    """Mean class probabilities (threats, strengths, true class, class) under PGD at strengths of 1/255, for a widget.

    A class without an image has zeros.
    """
    classes = outputs_of(probe, x[:1]).shape[1]
    member = F.one_hot(labels, classes).float()  # (n, true class)
    table = torch.zeros(len(threats), len(strengths), classes, classes)
    for row, threat in enumerate(threats):
        for column, strength in enumerate(strengths):
            eps = f"{strength}/255"
            images = x
            if strength and threat == "transfer":
                images = transferred(surrogate, x, labels, ("PGD",), eps)["PGD"]
            elif strength:
                images = attacked_images(probe, threat, x, labels, ("PGD",), eps)["PGD"]
            chances = outputs_of(probe, images).softmax(1)
            table[row, column] = member.T @ chances / member.sum(0).clamp_min(1)[:, None]
    return table
