"""The seven attacks of DAR-SFRL in three threat models, by one code path that differs in the objective alone.

T1 "released": the released code raises the cross-entropy of the restored pixels, taken for logits of 3 H W classes,
with the expression's number as label. T2 "transfer": the cross-entropy of a surrogate. T3 "end to end": that of the
probe behind the restoration, which is what is attacked.
"""

from collections.abc import Callable

import torch
from torch import Generator, LongTensor, Tensor, nn

from lib.attacks.autoattack import AutoAttackResult, autoattack
from lib.attacks.budgets import Linf
from lib.attacks.loop import in_batches, strongest
from lib.attacks.objectives import Objective, cross_entropy, margin
from lib.attacks.settings import BIM, DIFGSM, EOTPGD, MIFGSM, NIFGSM, PGD, UPGD, Settings
from lib.errors import WorkbookError, choices
from lib.evaluation.classification import worst_case
from lib.models.classifiers import is_correct
from lib.studies.dar_sfrl.networks import Pixels

SEVEN: dict[str, Settings] = {
    "PGD": PGD,
    "UPGD": UPGD,
    "BIM": BIM,
    "MIFGSM": MIFGSM,
    "EOTPGD": EOTPGD,
    "DIFGSM": DIFGSM,
    "NIFGSM": NIFGSM,
}
EPS = "8/255"
THREATS = ("released", "transfer", "end to end")


def objective_for(threat: str, probe: nn.Module, labels: LongTensor, surrogate: nn.Module | None = None) -> Objective:
    """What is raised under a threat model, for images whose classes are `labels` (n,).

    probe: a classifier with `.encoder`, whose features (pixels, for DAR) are the "logits" of the released objective.
    surrogate: the classifier that a transfer attack climbs.
    """
    if threat not in THREATS:
        raise WorkbookError(f"A threat model is one of {choices(THREATS)}, not '{threat}': choose one.")
    if threat == "transfer" and surrogate is None:
        raise WorkbookError("A transfer attack climbs a surrogate: give a classifier of the same classes.")
    models = {"released": getattr(probe, "encoder", probe), "transfer": surrogate, "end to end": probe}
    return cross_entropy(models[threat], labels)


def attack(
    goal: Objective, x: Tensor, settings: Settings = PGD, eps: str = EPS, seed: int = 0, batch: int | None = None
) -> Tensor:
    """Images (n, 3, H, W) in [0,1] after climbing `goal` inside an L-inf ball; 10 steps of 2/255 unless changed."""
    generator = torch.Generator().manual_seed(seed)
    return in_batches(goal, x, Linf(eps), settings, generator=generator, batch=batch)


def seven_attacks(goal: Objective, x: Tensor, eps: str = EPS, seed: int = 0) -> dict[str, Tensor]:
    """The images after each of the seven attacks, by name."""
    return {name: attack(goal, x, settings, eps, seed) for name, settings in SEVEN.items()}


def worst_of(probe: nn.Module, labels: LongTensor, attacked: dict[str, Tensor]) -> Tensor:
    """Per image the attacked one, among several attacks, with the highest margin loss."""
    return strongest(margin(probe, labels), *attacked.values())


def withstood(probe: nn.Module, labels: LongTensor, attacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which images (n,) stay correct under each attack, and under "worst" which do under all."""
    correct = {name: is_correct(probe, images, labels) for name, images in attacked.items()}
    return correct | {"worst": worst_case(torch.stack(list(correct.values())))}


def convergence(
    probe: nn.Module,
    x: Tensor,
    labels: LongTensor,
    steps: tuple[int, ...] = (5, 10, 20, 50),
    restarts: int = 1,
    eps: str = EPS,
) -> dict[int, Tensor]:
    """Which images (n,) are right after PGD of so many steps on the probe, each keeping its worst image met."""
    goal = margin(probe, labels)
    plans = {count: PGD.but(steps=count, step="eps/4", keep="best", restarts=restarts) for count in steps}
    return {count: is_correct(probe, attack(goal, x, plan, eps), labels) for count, plan in plans.items()}


def autoattacked(
    probe: nn.Module, x: Tensor, labels: LongTensor, iterations: int = 100, queries: int = 5000, random: bool = False
) -> AutoAttackResult:
    """The official AutoAttack through restoration and probe; random: for purifiers that draw (version "rand")."""
    version = "rand" if random else "standard"
    return autoattack(probe, x, labels, EPS, version=version, iterations=iterations, queries=queries)


def shifted(x: Tensor, by: float = 8 / 255) -> Tensor:
    """Images made brighter by one number and cut to [0,1]: the control of the released objective."""
    return (x + by).clamp(0, 1)


def perturbation_statistics(clean: Tensor, attacked: Tensor) -> dict[str, Tensor]:
    """Of each perturbation (n,): "mean" in units of 1/255, share "positive" of its values, "cosine" with a constant."""
    moved = (attacked - clean).flatten(1)
    mean, size = moved.mean(1), moved.square().mean(1).sqrt().clamp_min(1e-12)
    return {"mean": 255 * mean, "positive": (moved > 0).float().mean(1), "cosine": mean / size}


def pixel_objective(restorer: nn.Module, labels: LongTensor) -> Objective:
    """The released objective on a restorer alone, as the code's `DIFGSM` calls it."""
    return cross_entropy(Pixels(restorer), labels)


class PassBack(torch.autograd.Function):
    """BPDA with the identity: forward whatever `change` does, backward the gradient as it came."""

    @staticmethod
    def forward(context: object, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`change(x)`."""
        return change(x)

    @staticmethod
    def backward(context: object, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient itself."""
        return gradient, None


class Straight(nn.Module):
    """A classifier behind a purifier whose gradient is passed by (BPDA), for attacks in place of the exact one."""

    def __init__(self, purify: nn.Module, classifier: nn.Module):
        super().__init__()
        self.purify, self.classifier = purify, classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K)."""
        return self.classifier(PassBack.apply(x, self.purify))


def random_signs(x: Tensor, generator: Generator, eps: float = 8 / 255) -> Tensor:
    """Images moved by random signs of the size of the budget: what any attack must beat."""
    draw = torch.rand(x.shape, generator=generator).to(x.device)
    return (x + eps * torch.where(draw < 0.5, -1.0, 1.0)).clamp(0, 1)
