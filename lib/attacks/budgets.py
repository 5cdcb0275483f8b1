"""How far an attack may go: L-inf, L2 and intensity budgets, one for all images or one per image.

A budget knows no images; `budget.around(x)` binds it to clean images and gives the region in which the loop walks.
"""

import re
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lib.errors import WorkbookError

Size = float | str | Tensor  # 0.03, "8/255", or a tensor (n,) with one value per image
CONVENTIONS = {"[-1,1]": (2.0, -1.0), "[0,1]": (1.0, 0.0)}  # v = scale * x + shift, for x in [0,1]


class Region(Protocol):
    """Where an adversarial image may lie: a ball around the clean images, cut to [0,1]."""

    clean: Tensor
    radius: Tensor

    def project_(self, y: Tensor) -> Tensor: ...
    def sample(self, generator: torch.Generator | None = None) -> Tensor: ...


class Budget(Protocol):
    """What the loop asks of a budget."""

    def around(self, x: Tensor) -> Region: ...
    def rows(self, index: slice | Tensor) -> "Budget": ...


def number(value: Size) -> float | Tensor:
    """`"8/255"` as 0.0314; numbers and tensors (n,) pass. Anything negative, NaN or unreadable is an error."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d*\.?\d+(?:e-?\d+)?)\s*(?:/\s*(\d*\.?\d+))?\s*", value)
        if not found or float(found[2] or 1) == 0:
            raise WorkbookError(f'A size is a number or a string such as "8/255", but {value!r} came: rewrite it so.')
        value = float(found[1]) / float(found[2] or 1)
    if not bool(torch.as_tensor(value >= 0).all()):  # `nan >= 0` is False
        raise WorkbookError(f"Sizes are at least 0, but {value} came: pass a positive epsilon or step.")
    return value


def per_image(value: Size, x: Tensor) -> Tensor:
    """A size as a tensor (1, 1, 1, 1) or (n, 1, 1, 1) beside images `x` (n, C, H, W)."""
    size = torch.as_tensor(number(value), dtype=x.dtype, device=x.device)
    if size.numel() not in (1, len(x)):
        raise WorkbookError(f"There are {len(x)} images, but {size.numel()} sizes came: give one, or one per image.")
    return size.reshape(-1, 1, 1, 1)


def rows_of(value: Size, index: slice | Tensor) -> Size:
    """The sizes of the images `index`: cuts a per-image tensor, passes everything else."""
    return value[index] if isinstance(value, Tensor) and value.ndim > 0 and len(value) > 1 else value


def uniform(like: Tensor, generator: torch.Generator | None, shape: tuple[int, ...] | None = None) -> Tensor:
    """Uniform [0, 1) numbers in the shape of `like`, drawn where `generator` lives."""
    device = generator.device if generator else like.device
    return torch.rand(shape or like.shape, dtype=like.dtype, device=device, generator=generator).to(like.device)


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers in the shape of `like`, drawn where `generator` lives."""
    device = generator.device if generator else like.device
    return torch.randn(like.shape, dtype=like.dtype, device=device, generator=generator).to(like.device)


def norms(delta: Tensor) -> Tensor:
    """L2 norm of each row of `delta` (n, C, H, W), as (n, 1, 1, 1)."""
    return torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)


@dataclass(frozen=True)
class Box:
    """`max |y - clean| <= radius`, cut to [0,1]: itself a box, so one clamp projects exactly."""

    clean: Tensor
    radius: Tensor
    lower: Tensor
    upper: Tensor

    def project_(self, y: Tensor) -> Tensor:
        """Nearest point of the region, in place."""
        return y.clamp_(self.lower, self.upper)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A uniform draw from the L-inf ball, clamped."""
        return self.project_(uniform(self.clean, generator).mul_(2 * self.radius).sub_(self.radius).add_(self.clean))


@dataclass(frozen=True)
class Ball:
    """`||y - clean||_2 <= radius`, cut to [0,1]."""

    clean: Tensor
    radius: Tensor

    def project_(self, y: Tensor) -> Tensor:
        """Nearest point of the ball, then of [0,1], in place: inside both, as clean images are in [0,1] themselves."""
        delta = y.sub_(self.clean)
        shrink = (self.radius / norms(delta).clamp_min_(torch.finfo(y.dtype).tiny)).clamp_max_(1)
        return delta.mul_(shrink).add_(self.clean).clamp_(0, 1)

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """A random direction with a length uniform in [0, radius] (torchattacks' start), clamped."""
        delta = normal(self.clean, generator)
        length = uniform(delta, generator, (len(delta), 1, 1, 1)) * self.radius
        return delta.mul_(length / norms(delta)).add_(self.clean).clamp_(0, 1)


@dataclass(frozen=True)
class Linf:
    """Every pixel moves by at most `eps` (units of [0,1]): a float, a string as "8/255", or a tensor (n,)."""

    eps: Size

    def around(self, x: Tensor) -> Box:
        """The box around images `x` (n, C, H, W)."""
        radius = per_image(self.eps, x)
        return Box(x, radius, (x - radius).clamp_(min=0), (x + radius).clamp_(max=1))

    def rows(self, index: slice | Tensor) -> "Linf":
        """The budget of the images `index`."""
        return Linf(rows_of(self.eps, index))

    def __str__(self) -> str:
        """As a source would write it."""
        return f"L-inf {'per image' if isinstance(self.eps, Tensor) and self.eps.numel() > 1 else self.eps}"


@dataclass(frozen=True)
class L2:
    """The perturbation's Euclidean norm over all pixels is at most `eps` (units of [0,1])."""

    eps: Size

    def around(self, x: Tensor) -> Ball:
        """The ball around images `x` (n, C, H, W)."""
        return Ball(x, per_image(self.eps, x))

    def rows(self, index: slice | Tensor) -> "L2":
        """The budget of the images `index`."""
        return L2(rows_of(self.eps, index))

    def __str__(self) -> str:
        """As a source would write it."""
        return f"L2 {'per image' if isinstance(self.eps, Tensor) and self.eps.numel() > 1 else self.eps}"


def rms(x: Tensor, convention: str = "[-1,1]") -> Tensor:
    """Root mean square (n,) of images `x` in [0,1], taken in the units of `convention`."""
    if convention not in CONVENTIONS:
        raise WorkbookError(f"An intensity is relative to images in {' or '.join(CONVENTIONS)}, not {convention!r}.")
    scale, shift = CONVENTIONS[convention]
    return (scale * x + shift).square().mean(dim=(1, 2, 3)).sqrt()


@dataclass(frozen=True)
class Intensity:
    """Relative budget `||eta||_2 / ||x||_2 <= value` (PIN, section IV), with x in the units of `convention`.

    PIN normalises images to [-1,1]; 0.04 is then about 2.5/255, against 5.6/255 if x were in [0,1]. `norm="linf"` (for
    sign attacks) gives each image the box of radius `value * rms(x)`, whose corners have exactly this intensity;
    `norm="l2"` gives the whole ball.
    """

    value: Size
    convention: str = "[-1,1]"
    norm: str = "linf"

    def radius(self, x: Tensor) -> Tensor:
        """Radius (n,) of each image's L-inf box, in units of [0,1]."""
        return per_image(self.value, x).flatten() * rms(x, self.convention) / CONVENTIONS[self.convention][0]

    def around(self, x: Tensor) -> Box | Ball:
        """The box or ball around images `x` (n, C, H, W)."""
        if self.norm not in ("linf", "l2"):
            raise WorkbookError(f'An intensity bounds norm "linf" or "l2", not {self.norm!r}: choose one of them.')
        if self.norm == "linf":
            return Linf(self.radius(x)).around(x)
        return L2(self.radius(x) * x[0].numel() ** 0.5).around(x)

    def rows(self, index: slice | Tensor) -> "Intensity":
        """The budget of the images `index`."""
        return Intensity(rows_of(self.value, index), self.convention, self.norm)

    def __str__(self) -> str:
        """As PIN writes it, with the convention."""
        return f"intensity {self.value} of {self.convention}"


def noise_of(x: Tensor, intensity: float, generator: torch.Generator | None) -> Tensor:
    """Gaussian noise (n, C, H, W), in units of [0,1], of exactly this intensity for each of the images `x` in [0,1].

    Not clamped. PIN's released code scales a whole batch by one factor: a single image is then right on average alone.
    """
    noise = normal(x, generator)
    return noise * (Intensity(intensity).radius(x) / rms(noise, "[0,1]")).view(-1, 1, 1, 1)


def intensity_of(x: Tensor, adversarial: Tensor, convention: str = "[-1,1]") -> Tensor:
    """`||eta||_2 / ||x||_2` (n,) of images in [0,1], both taken in the units of `convention`."""
    return rms(adversarial - x, "[0,1]") * CONVENTIONS[convention][0] / rms(x, convention)


def rescale_to_intensity(x: Tensor, adversarial: Tensor, intensity: Intensity | float) -> Tensor:
    """Scale each `eta = adversarial - x` to exactly this intensity, then clamp to [0,1] (PIN, section IV).

    For attacks without a budget of their own (DeepFool). The clamp can only lower the intensity; an `eta` of zero
    stays zero. Images (n, C, H, W) in [0,1].
    """
    budget = intensity if isinstance(intensity, Intensity) else Intensity(intensity)
    delta = adversarial - x
    size = rms(delta, "[0,1]")
    factor = torch.where(size == 0, size, budget.radius(x) / size)
    return delta.mul_(factor.view(-1, 1, 1, 1)).add_(x).clamp_(0, 1)
