"""Which pictures a classifier names rightly, clean, under PGD-20 and under AutoAttack; and that along training."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.autoattack import autoattack
from lib.attacks.budgets import Linf
from lib.attacks.loop import in_batches
from lib.attacks.objectives import cross_entropy
from lib.attacks.settings import PGD
from lib.models.classifiers import is_correct
from lib.studies.robust_ssl.adversarial.networks import OneRoute
from lib.studies.robust_ssl.probes import ProbeRecipe, features_of, fit_probe, probe_from

BATCH = 128  # attacked at once on a CPU


@dataclass(frozen=True)
class Judges:
    """The field's attacks: PGD with `steps` of 2/255 from a random start, and AutoAttack "standard" on the first few.

    autoattacked: how many pictures AutoAttack gets, 0 to leave it out; iterations, queries: its own, below 100 and 5000
    a rehearsal.
    """

    eps: str = "8/255"
    steps: int = 20
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


def rights_under(
    model: nn.Module, images: Tensor, labels: LongTensor, judges: Judges = Judges(), seed: int = 0
) -> dict[str, Tensor]:
    """Which images (n, 3, H, W) in [0,1] are right: "SA" clean and "RA" under PGD, (n,) bool; "AA" (m,) bool.

    AA is the worst case of AutoAttack and PGD on the first m pictures.
    """
    clean = is_correct(model, images, labels)
    robust = right_after(model, images, labels, judges.eps, judges.steps, seed)
    m = min(judges.autoattacked, len(images))
    if m == 0:
        return {"SA": clean, "RA": robust, "AA": robust[:0]}
    options = {"iterations": judges.iterations, "queries": judges.queries}
    found = autoattack(model, images[:m], labels[:m], judges.eps, seed=seed, **options)
    return {"SA": clean, "RA": robust, "AA": found.robust.cpu() & robust[:m]}


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
