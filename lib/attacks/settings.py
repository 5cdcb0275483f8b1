"""How an attack steps: one table of settings. The attacks by name, each with its goal, are in `lib.attacks.named`.

    attack = PGD.but(steps=20, restarts=5, keep="best")

Defaults are torchattacks 3.3's, so that `ascend(objective, x, Linf("8/255"), MIFGSM)` is its `MIFGSM(model)(x, y)`.
"""

import re
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lib.attacks.budgets import Size, per_image, rows_of
from lib.errors import WorkbookError, choices

CHOICES = {"rule": ("sign", "l2"), "start": ("clean", "uniform", "gaussian"), "keep": ("last", "best")}
LEAST = {"steps": 0, "eot": 1, "scales": 1, "restarts": 1}
RELATIVE = re.compile(r"\s*(?:(\d*\.?\d+)\s*\*\s*)?eps\s*(?:/\s*(\d*\.?\d+))?\s*")


@dataclass(frozen=True)
class Settings:
    """Step rule of the ascent loop. Sizes are in units of [0,1]."""

    steps: int | Tensor = 10  # or one count per image (n,)
    step: Size = "2/255"  # also "eps", "eps/4", "2.5*eps/20", and tensors (n,)
    rule: str = "sign"  # "sign": x + step * sign(m); "l2": x + step * m / ||m||_2
    start: str | Tensor = "clean"  # "uniform": in the ball; "gaussian": 0.001 * N(0,1); or images (n, C, H, W)
    decay: float = 0.0  # momentum m <- decay * m + g / mean|g|; 0: m = g
    nesterov: bool = False  # take the gradient at x + decay * step * m
    diversity: float = 0.0  # probability of a random resize and padding before each gradient
    resize_rate: float = 0.9  # smallest size of that resize (below 1), largest (above 1)
    scales: int = 1  # average over the copies x / 2^i, i < scales (SI-NI-FGSM)
    eot: int = 1  # gradients averaged per step, for models that draw random numbers
    restarts: int = 1  # the best end of several climbs, per image
    keep: str = "last"  # "best": the worst case each image met on its way, the clean image included
    dropout: bool = False  # leave the model's dropout layers active (DFANet)
    amp: bool = False  # run the model under bfloat16 autocast

    def __post_init__(self) -> None:
        """Refuse what the loop would misread."""
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed and not (name == "start" and isinstance(value, Tensor)):
                raise WorkbookError(f"{name} is one of {choices(allowed)}, not {value!r}: choose one.")
        for name, least in LEAST.items():
            if int(torch.as_tensor(getattr(self, name)).min()) < least:
                raise WorkbookError(f"{name} is at least {least}, but {getattr(self, name)} came: raise it.")
        if self.count == 0 and (self.keep == "last" or not self.moved):
            raise WorkbookError("An attack of 0 steps attacks nothing: give 1 or more (random search is RANDOM).")
        if not 0 <= self.diversity <= 1 or self.resize_rate <= 0 or self.decay < 0:
            raise WorkbookError(
                "diversity lies in [0,1], resize_rate above 0 and decay at or above 0: correct the one."
            )

    def but(self, **changes: object) -> "Settings":
        """These settings with some changed: `PGD.but(steps=40, step="0.007")`."""
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown:
            known = choices([field.name for field in fields(self)])
            raise WorkbookError(f"An attack has no setting {choices(sorted(unknown))}: choose among {known}.")
        return replace(self, **changes)

    def rows(self, index: slice | Tensor) -> "Settings":
        """The settings of the images `index`."""
        start = self.start[index] if isinstance(self.start, Tensor) else self.start
        return replace(self, steps=rows_of(self.steps, index), step=rows_of(self.step, index), start=start)

    @property
    def moved(self) -> bool:
        """Whether the ascent starts elsewhere than at the clean images."""
        return isinstance(self.start, Tensor) or self.start != "clean"

    @property
    def count(self) -> int:
        """Iterations of the loop: the largest count when each image has its own."""
        return int(torch.as_tensor(self.steps).max())

    @property
    def looks_elsewhere(self) -> bool:
        """Whether the gradient is taken elsewhere than at the iterate, whose score must then be computed apart."""
        return self.nesterov or self.diversity > 0 or self.scales > 1

    def step_size(self, clean: Tensor, radius: Tensor) -> Tensor:
        """The step beside images `clean` (n, C, H, W), as (1, 1, 1, 1) or (n, 1, 1, 1)."""
        relative = RELATIVE.fullmatch(self.step) if isinstance(self.step, str) else None
        if relative is None:
            return per_image(self.step, clean)
        return radius * (float(relative[1] or 1) / float(relative[2] or 1))


FGSM = Settings(steps=1, step="eps")
BIM = I_FGSM = Settings()
PGD = Settings(start="uniform")
PGD_L2 = Settings(start="uniform", step=0.2, rule="l2")
MIFGSM = Settings(decay=1.0)
NIFGSM = Settings(decay=1.0, nesterov=True)
SINIFGSM = Settings(decay=1.0, nesterov=True, scales=5)
DIFGSM = Settings(diversity=0.5)
EOTPGD = Settings(start="uniform", eot=2)
UPGD = Settings(decay=1.0)  # with the cross-entropy and these defaults the same attack as MIFGSM
TPGD = Settings(start="gaussian")  # with the `kl` objective
RANDOM = Settings(
    steps=0, start="uniform", restarts=100, keep="best"
)  # random search: what no gradient attack may lose to
