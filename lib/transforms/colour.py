"""Colour to gray, as every gray model of the book sees it."""

from torch import Tensor

from lib.errors import WorkbookError

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow's "L" uses


def to_gray(images: Tensor) -> Tensor:
    """Colour images (n, 3, H, W) in [0,1] to their luma (n, 1, H, W); gray images come back as they are."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise WorkbookError(
            f"to_gray expects images of shape (n, 3, H, W) or (n, 1, H, W) and got {tuple(images.shape)}."
        )
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(LUMA).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)
