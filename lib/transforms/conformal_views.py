"""Random views: a conformal map or a control, with a crop and a mirror after or before it, in one interpolation."""

from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from lib.errors import WorkbookError, choices
from lib.transforms.conformal import (
    BACKGROUNDS,
    LogConformal,
    Moebius,
    PlaneMap,
    as_strong_affine,
    as_strong_homography,
    crop_plane,
    inside,
    plane,
    through_crop,
    warp,
)
from lib.transforms.views import Views, random_boxes, uniform

KINDS = ("moebius", "log", "homography", "affine")


@dataclass(frozen=True)
class ConformalViews:
    """`views(x, generator)`: one random view of each image (n, 1 or 3, H, W) in [0,1]; same shape.

    kind: of the map, with probability `p` and |c| uniform in `magnitude`, the other kinds as strong as Moebius's (the
    log-conformal with k = 2 c). One of c's parts is 0, which one and the sign of the other each with chance 1/2. d: of
    Moebius's map; below 1 it also reduces the picture. views: what follows; its crop and mirror are part of the same
    grid, then come its colours. after_crop: the map bends the crop, and what lies beyond the crop is black (as in the
    release's DINO); otherwise the crop is taken from the bent picture (as in its SimCLR).
    """

    kind: str = "moebius"
    p: float = 0.8
    magnitude: tuple[float, float] = (0.1, 0.3)
    d: float = 1.0
    background: str = "black"
    views: Views = field(default_factory=Views)
    after_crop: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown kinds, ranges and probabilities that are none."""
        if self.kind not in KINDS:
            raise WorkbookError(f"The map of a view is one of {choices(KINDS)}, not '{self.kind}'.")
        if self.background not in BACKGROUNDS:
            raise WorkbookError(f"A background is one of {choices(list(BACKGROUNDS))}, not '{self.background}'.")
        low, high = self.magnitude
        if self.after_crop and self.background != "black":
            raise WorkbookError(f"A map after the crop has a black background alone, not '{self.background}'.")
        most = 0.35 if self.kind == "log" else 0.7  # beyond, a corner of the picture meets the pole or the branch cut
        if not 0 < low <= high < most or not 0 <= self.p <= 1 or not 0.5 < self.d <= 1:
            raise WorkbookError(
                f"A view of kind {self.kind} takes |c| within (0, {most}), p in [0, 1] and d in (0.5, 1], not "
                f"{self.magnitude}, {self.p}, {self.d}: fix them."
            )

    @torch.no_grad()
    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """One view of each row, of the size that `views` asks for."""
        n, _, height, width = x.shape
        with torch.autocast(x.device.type, enabled=False):
            plane_map = self.draw(n, generator, x.device)
            box = random_boxes(n, height, width, self.views.crop, self.views.ratio, generator).to(x.device)
            flip = (torch.rand(n, generator=generator) < self.views.flip).to(x.device)
            x = self.bent(x, plane_map, box, flip)
        return replace(self.views, crop=(1, 1), flip=0.0)(x, generator)

    def bent(self, x: Tensor, plane_map: PlaneMap, box: Tensor, flip: Tensor) -> Tensor:
        """Images (n, C, H, W) through map, crop and mirror, read once."""
        sides, size = x.shape[2:], self.views.size
        if not self.after_crop:
            z = crop_plane(box, flip, *sides, size)
            z = torch.complex(z.real.clamp(-1, 1), z.imag.clamp(-1, 1))  # a crop repeats its picture's border
            return warp(x, plane_map(z), self.background)
        points = plane_map(plane(size or sides[0], size or sides[1], x.device))
        return warp(x, through_crop(points, box, flip, *sides), "padded") * inside(points)[:, None]

    def draw(self, n: int, generator: Generator, device: torch.device | str = "cpu") -> PlaneMap:
        """The maps of n pictures; those that the chance leaves out are the identity."""
        chosen = torch.rand(n, generator=generator) < self.p
        c = draw_coefficients(n, self.magnitude, generator) * chosen
        if self.kind == "moebius":
            d = torch.where(chosen, self.d, 1.0)
            return Moebius(c.to(device), d.to(device))
        if self.kind == "affine":
            return as_strong_affine(c.to(device), torch.randn(n, 2, 2, generator=generator).to(device))
        return LogConformal(2 * c.to(device)) if self.kind == "log" else as_strong_homography(c.to(device))


def draw_coefficients(n: int, magnitude: tuple[float, float], generator: Generator) -> Tensor:
    """c (n,) complex64: |c| uniform in `magnitude`, along 1, -1, i or -i with equal chance."""
    size = uniform(n, magnitude, generator)
    angle = torch.randint(4, (n,), generator=generator)
    return size * torch.tensor([1, 1j, -1, -1j])[angle]
