"""The corruptions of ImageNet-C on batches: fifteen in four families, and four more, each at five severities.

Hendrycks and Dietterich (2019), "Benchmarking neural network robustness to common corruptions and perturbations".
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lib.errors import WorkbookError, choices
from lib.transforms.corruptions import blur, digital, noise, spatter, weather
from lib.transforms.corruptions.filters import whole
from lib.transforms.corruptions.severities import SEVERITIES

__all__ = ["COMMON", "CORRUPTIONS", "EXTRA", "FAMILIES", "SEVERITIES", "Corruption", "corrupt", "severity_of"]

Corruption = Callable[[Tensor, object, Generator], Tensor]

FAMILIES = {
    "noise": ("gaussian_noise", "shot", "impulse"),
    "blur": ("defocus", "glass", "motion", "zoom"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic", "pixelate", "jpeg"),
}
COMMON = tuple(name for names in FAMILIES.values() for name in names)
EXTRA = ("speckle", "gaussian_blur", "spatter", "saturate")
ROOMS = (noise, blur, weather, digital, spatter)
CORRUPTIONS: dict[str, Corruption] = {
    name: next(getattr(room, name) for room in ROOMS if hasattr(room, name)) for name in COMMON + EXTRA
}


@torch.no_grad()
def corrupt(x: Tensor, name: str, severity: int, generator: Generator, side: int | None = None) -> Tensor:
    """Images (n, 3, H, W) in [0,1] under corruption `name` at `severity` 1 to 5; same shape, in whole steps of 1/255.

    side: whose constants are taken, 32, 64 or 224 (see `severities`); the picture's own side where it is left out. The
    numbers come from `generator`, drawn on its device; a CPU generator gives the same ones everywhere.
    """
    if x.ndim != 4 or x.shape[1] != 3 or not x.is_floating_point() or min(x.shape[2:]) < 32:
        raise WorkbookError(
            f"Corruptions take float colour images (n, 3, H, W) in [0,1] of 32 pixels or more, but {tuple(x.shape)} "
            f"{x.dtype} came: convert or enlarge them."
        )
    constants = severity_of(name, severity, x.shape[2] if side is None else side)
    with torch.autocast(x.device.type, enabled=False):
        return whole(CORRUPTIONS[name](x.float(), constants, generator).clamp(0, 1)).to(x.dtype)


def severity_of(name: str, severity: int, side: int) -> object:
    """The constants of corruption `name` at `severity` 1 to 5 for pictures of `side` pixels."""
    if name not in CORRUPTIONS:
        raise WorkbookError(f"There is no corruption '{name}'; there are {choices(COMMON + EXTRA)}.")
    if severity not in range(1, 6):
        raise WorkbookError(f"A corruption's severity is a whole number from 1 to 5, not {severity}.")
    if side not in SEVERITIES:
        raise WorkbookError(f"Constants exist for sides {choices(tuple(SEVERITIES))}, not {side}: name one with side=.")
    return SEVERITIES[side][name][severity - 1]
