"""Which pictures a classifier names rightly, clean, under PGD, at worst, and under AutoAttack; and along training."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.autoattack import autoattack
from lib.attacks.budgets import Linf
from lib.attacks.loop import in_batches
from lib.attacks.objectives import cross_entropy, margin
from lib.attacks.settings import PGD
from lib.models.classifiers import is_correct
from lib.studies.robust_ssl.adversarial.networks import OneRoute
from lib.studies.robust_ssl.probes import ProbeRecipe, features_of, fit_probe, probe_from

BATCH = 128  # attacked at once on a CPU
GOALS = ("cross-entropy", "margin")  # what PGD climbs


@dataclass(frozen=True)
class Judges:
    """The field's attacks, PGD with `steps` of 2/255 from a random start and AutoAttack "standard", and one between.

    attacked: how many pictures, the first ones, are attacked; all tell the clean accuracy. margin: steps of 1/255 that
    climb the margin of the best wrong class, 0 to leave that attack out. autoattacked: how many pictures AutoAttack
    gets, 0 for none; iterations, queries: its own, below 100 and 5000 a rehearsal.
    """

    eps: str = "8/255"
    steps: int = 20
    attacked: int | None = None
    margin: int = 40
    autoattacked: int = 1000
    iterations: int = 100
    queries: int = 5000


def right_after(
    model: nn.Module, images: Tensor, labels: LongTensor, eps: str = "8/255", steps: int = 20, seed: int = 0
) -> Tensor:
    """Which images (n, 3, H, W) in [0,1] are named rightly after PGD, and before it, (n,) bool."""
    settings = PGD.but(steps=steps, step="2/255")
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    batch = None if device.type == "cuda" else BATCH
    goal = cross_entropy(model, labels)
    moved = in_batches(goal, images, Linf(eps), settings, batch=batch, generator=generator)
    return is_correct(model, moved, labels) & is_correct(model, images, labels)


def right_after_margin(
    model: nn.Module, images: Tensor, labels: LongTensor, eps: str = "8/255", steps: int = 40, seed: int = 0
) -> Tensor:
    """The same after PGD of 1/255 a step that climbs the margin by which the best wrong class wins."""
    draw = torch.Generator().manual_seed(seed)
    batch = None if next(model.parameters()).device.type == "cuda" else BATCH
    settings = PGD.but(steps=steps, step="1/255")
    moved = in_batches(margin(model, labels), images, Linf(eps), settings, batch=batch, generator=draw)
    return is_correct(model, moved, labels) & is_correct(model, images, labels)


def rights_under(
    model: nn.Module, images: Tensor, labels: LongTensor, judges: Judges = Judges(), seed: int = 0
) -> dict[str, Tensor]:
    """Which images (n, 3, H, W) in [0,1] are right, bool: "SA" clean (n,), "RA" under PGD and "WC" (k,), "AA" (m,).

    WC is the worst case of PGD on both `GOALS`, AA that of these and AutoAttack; k = 0 or m = 0 where left out.
    """
    clean = is_correct(model, images, labels)
    images, labels = images[: judges.attacked], labels[: judges.attacked]
    robust = right_after(model, images, labels, judges.eps, judges.steps, seed)
    found = {"SA": clean, "RA": robust, "WC": robust[:0], "AA": robust[:0]}
    if judges.margin:
        found["WC"] = robust & right_after_margin(model, images, labels, judges.eps, judges.margin, seed)
    m = min(judges.autoattacked, len(images))
    if m:
        options = {"iterations": judges.iterations, "queries": judges.queries}
        official = autoattack(model, images[:m], labels[:m], judges.eps, seed=seed, **options)
        found["AA"] = official.robust.cpu() & (found["WC"] if judges.margin else robust)[:m]
    return found


def right_by_steps(model: nn.Module, images: Tensor, labels: LongTensor, lengths: tuple[int, ...]) -> Tensor:
    """Which images are right after PGD of so many steps on each of `GOALS`: (goals, lengths, n) bool."""
    attacks = (right_after, right_after_margin)  # in the order of `GOALS`
    return torch.stack(
        [torch.stack([attack(model, images, labels, steps=steps) for steps in lengths]) for attack in attacks]
    )


@dataclass(frozen=True, eq=False)
class RobustWatch:
    """For `fit`: accuracies of a quick linear probe on a routed encoder along training, clean ("SA") and under PGD.

    learn: images (n, 3, S, S) uint8 and labels that the probe is fitted on; held: those that are tested. It chooses
    nothing, so the last weights stay.
    """

    learn: tuple[Tensor, LongTensor]
    held: tuple[Tensor, LongTensor]
    steps: int = 10

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """{"SA", "RA"} in shares, through the adversarial route."""
        return quick_accuracies(model.encoder, self.learn, self.held, self.steps)


def quick_accuracies(
    encoder: nn.Module, learn: tuple[Tensor, LongTensor], held: tuple[Tensor, LongTensor], steps: int = 10
) -> dict[str, float]:
    """{"SA", "RA"} in shares on `held`, of a quick probe fitted on `learn`, through the adversarial route."""
    routed = OneRoute(encoder)
    device = str(next(encoder.parameters()).device)
    known, asked = ((features_of(routed, part[0], device), part[1]) for part in (learn, held))
    probe = probe_from(routed, fit_probe(known, asked, ProbeRecipe((1e-3,), 30))).to(device)
    x = held[0].float() / 255
    right = right_after(probe, x, held[1], steps=steps)
    return {"SA": is_correct(probe, x, held[1]).double().mean().item(), "RA": right.double().mean().item()}


@dataclass(frozen=True, eq=False)
class TunedWatch:
    """For `fit`: accuracies on held-out pictures of a classifier that is tuned, through the adversarial route."""

    images: Tensor
    labels: LongTensor
    steps: int = 10

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """{"SA", "RA"} in shares."""
        routed = OneRoute(model)
        x = self.images.float() / 255
        right = right_after(routed, x, self.labels, steps=self.steps)
        return {"SA": is_correct(routed, x, self.labels).double().mean().item(), "RA": right.double().mean().item()}
