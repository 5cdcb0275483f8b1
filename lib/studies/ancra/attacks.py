"""Classifiers with reverse attention under ANCRA's own attacks (Tables II, III, V, VII, X, Fig 7).

Images x (n, 3, H, W) in [0,1] and labels (n,) give BoolTensors (n,) on the CPU: which images the real model, its gates
hard, classifies rightly. As in the source, attacks take all images, and one that an attack has *corrected* counts as
robust: so can an accuracy under attack rise above the clean one. `lib.studies.ancra.adaptive_attacks` judges otherwise.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lib.attacks import PGD, Linf, Settings, ascend, in_batches
from lib.attacks.budgets import Size
from lib.attacks.objectives import run_once
from lib.errors import WorkbookError, choices
from lib.models.classifiers import decisions, is_correct
from lib.studies.ancra.classifiers import GatedClassifier, View, bypass
from lib.studies.ancra.objectives import batch_margin, gated

Stands = dict[str, Tensor]  # attack -> (n,) bool, still right
EPS = "8/255"
# the source's attacks, all from a uniform start (also FGSM, in its code): the loss climbed, and how
SOURCE: dict[str, tuple[str, Settings]] = {
    "FGSM": ("cross-entropy", PGD.but(steps=1, step=EPS)),
    "PGD": ("cross-entropy", PGD.but(steps=40, step=0.007)),
    "C&W": ("margin", PGD.but(steps=40, step=0.007)),  # section IV-A; a margin PGD, not Carlini and Wagner's attack
    "C&W-20": ("margin", PGD.but(steps=20, step=0.007)),  # the steps of its code
    "MIM": ("cross-entropy", PGD.but(steps=40, step=0.007, decay=1.0)),
}
SUMMED = "C&W-20 summed"  # the loss of its code as well: see `batch_margin`


def right_by_output(model: GatedClassifier, x: Tensor, labels: Tensor) -> Stands:
    """Right answers of Table X's outputs: the last auxiliary P, the final P', and P'' with the gates removed."""
    parts = {"auxiliary P": View(model, auxiliary=True), "final P'": model, "final without RA P''": View(model, bypass)}
    return {name: is_correct(part, x, labels) for name, part in parts.items()}


def agreement(model: GatedClassifier, x: Tensor) -> Tensor:
    """Where the final answer is that of the last auxiliary logits, which know no last gate."""
    return decisions(model, x) == decisions(View(model, auxiliary=True), x)


def features_of(model: GatedClassifier, x: Tensor) -> Tensor:
    """Features (n, C) behind the last gate, on the CPU (Figs 4 and 5)."""
    return run_once(lambda part: model.outputs(part).features, model, x).cpu()


def source_images(
    model: GatedClassifier,
    x: Tensor,
    labels: Tensor,
    attack: str = "PGD",
    heads: str = "final",
    steps: int | None = None,
    eps: Size = EPS,
    seed: int = 0,
    batch: int = 128,
) -> Tensor:
    """Images (n, 3, H, W) of an attack of `SOURCE`, or of `SUMMED`, which couples each `batch` of the source's code.

    heads="total" makes it the source's adaptive attack (Table V). steps: others than its own (100 in Table VII).
    """
    if attack not in (*SOURCE, SUMMED):
        raise WorkbookError(f"The source's attacks are {choices([*SOURCE, SUMMED])}, not {attack!r}: choose one.")
    loss, settings = SOURCE[attack.removesuffix(" summed")]
    settings = settings if steps is None else settings.but(steps=steps)
    draw, budget = torch.Generator().manual_seed(seed), Linf(eps)
    if attack != SUMMED:
        return in_batches(gated(model, labels, heads, loss=loss), x, budget, settings, generator=draw)
    pairs = zip(x.split(batch), labels.split(batch), strict=True)
    return torch.cat([ascend(batch_margin(model, y), part, budget, settings, generator=draw) for part, y in pairs])


def source_attacks(
    model: GatedClassifier,
    x: Tensor,
    labels: Tensor,
    attacks: Sequence[str] = ("FGSM", "PGD", "C&W"),
    heads: str = "final",
    steps: int | None = None,
    eps: Size = EPS,
    seed: int = 0,
) -> Stands:
    """ "Nat" and the source's attacks, as it judges them: by the attacked image alone (Tables II, III, V, VII, Fig 7).

    steps: for all but FGSM.
    """
    found = {"Nat": is_correct(model, x, labels)}
    for name in attacks:
        images = source_images(model, x, labels, name, heads, None if name == "FGSM" else steps, eps, seed)
        found[name] = is_correct(model, images, labels)
    return found


def transfer(
    source: GatedClassifier,
    targets: Mapping[str, GatedClassifier],
    x: Tensor,
    labels: Tensor,
    attack: str = "PGD",
    steps: int | None = None,
    eps: Size = EPS,
    seed: int = 0,
) -> Stands:
    """Images made on `source`, judged on each of `targets` (Table VII)."""
    images = source_images(source, x, labels, attack, steps=steps, eps=eps, seed=seed)
    return {name: is_correct(target, images, labels) for name, target in targets.items()}
