"""The views that the families are trained with, and what is left of them when one augmentation is taken away."""

from dataclasses import replace

from lib.errors import WorkbookError, choices
from lib.transforms.conformal_views import ConformalViews
from lib.transforms.views import Views

AnyViews = Views | ConformalViews
STANDARD = Views(sigma=(0.1, 1.0))  # SimCLR's for CIFAR, with a blur that 32 pixels can bear
SMALL = (0.08, 0.3)  # share of the area of a small crop; SwAV and DINO: 0.05 to 0.14, of far larger pictures
LEFT_OUT = {
    "crop": {"crop": (1.0, 1.0)},
    "flip": {"flip": 0.0},
    "colour jitter": {"jitter_p": 0.0},
    "gray": {"gray": 0.0},
    "blur": {"blur": 0.0},
}


def left_out(name: str, views: Views = STANDARD) -> Views:
    """Views without the augmentation of that name."""
    if name not in LEFT_OUT:
        raise WorkbookError(f"Of the views {choices(list(LEFT_OUT))} can be left out, not '{name}': choose one.")
    return replace(views, **LEFT_OUT[name])


def small_crops(views: AnyViews, side: int) -> AnyViews:
    """The same views of small parts, at half the side: SwAV's and DINO's additional crops."""
    if isinstance(views, ConformalViews):
        return replace(views, views=small_crops(views.views, side))
    return replace(views, crop=SMALL, size=max(8, side // 2))
