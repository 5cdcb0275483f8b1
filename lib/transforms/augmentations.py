"""Image operations with one parameter per image, batched; they follow torchvision's functions of the same names.

All take float images (n, C, H, W) in [0,1], C = 1 or 3, and parameters (n,) on the images' device.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.transforms.colour import to_gray


def resized_crop(x: Tensor, box: Tensor, flip: Tensor) -> Tensor:
    """The crops `box` (n, 4) of images (n, C, H, W), bilinearly brought back to (H, W), mirrored where `flip` (n,).

    A crop is never larger than its picture, so it is only ever enlarged and there is nothing to antialias. It is a
    window on the enlarged picture: at its rim it reads the pixels beyond, where torchvision repeats the crop's own.
    """
    top, left, height, width = box.unbind(1)
    down, across = ((torch.arange(side, device=x.device) + 0.5) / side for side in x.shape[2:])
    across = torch.where(flip[:, None], 1 - across, across)
    rows = top[:, None] + height[:, None] * down
    columns = left[:, None] + width[:, None] * across
    grid = torch.stack(torch.broadcast_tensors(columns[:, None, :], rows[:, :, None]), dim=3) * 2 - 1
    return F.grid_sample(x, grid.to(x.dtype), padding_mode="border", align_corners=False)


def crop_to(x: Tensor, box: Tensor, flip: Tensor, size: int) -> Tensor:
    """`resized_crop` to (size, size), antialiased where the crop is larger: bilinear weights as Pillow's, row by row.

    Like `resized_crop` it reads, at its rim, the pixels beyond the crop.
    """
    top, left, height, width = box.unbind(1)
    rows, columns = _weights(top, height, x.shape[2], size), _weights(left, width, x.shape[3], size)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def _weights(start: Tensor, length: Tensor, pixels: int, size: int) -> Tensor:
    """Weights (n, size, pixels) that resample the part from `start` (n,) of `length` (n,), in shares of the side."""
    steps = (torch.arange(size, device=start.device) + 0.5) / size
    centres = (start[:, None] + length[:, None] * steps) * pixels
    reach = (length * pixels / size).clamp_min(1).view(-1, 1, 1)  # of the triangle: one pixel where it enlarges
    apart = torch.arange(pixels, device=start.device) + 0.5 - centres[:, :, None]
    weights = (1 - apart.abs() / reach).clamp_min(0)
    return weights / weights.sum(2, keepdim=True)


def _per_row(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def adjust_brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Images (n, C, H, W) times `factor` (n,), cut to [0,1]."""
    return (x * _per_row(factor)).clamp(0, 1)


def adjust_contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor (n,) above 1) or towards each image's mean luma, cut to [0,1]."""
    return to_gray(x).mean((1, 2, 3), keepdim=True).lerp(x, _per_row(factor)).clamp(0, 1)


def adjust_saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Colour images away from (factor (n,) above 1) or towards their luma, cut to [0,1]."""
    return to_gray(x).lerp(x, _per_row(factor)).clamp(0, 1)


def adjust_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Colour images (n, 3, H, W) with the hue of HSV turned by `shift` (n,) turns.

    The largest and the smallest channel value stay; the hue says where between them each channel lies.
    """
    red, green, blue = x.unbind(1)
    high = x.amax(1)
    chroma = high - x.amin(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    hue = torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe)
    hue = torch.where(high == red, (green - blue) / safe, hue) + 6 * shift.view(-1, 1, 1)  # in sixths of a turn
    place = (hue[:, None] + torch.tensor([5.0, 3.0, 1.0], device=x.device).view(1, 3, 1, 1)) % 6
    return high[:, None] - chroma[:, None] * torch.minimum(place, 4 - place).clamp(0, 1)


def gaussian_blur(x: Tensor, sigma: Tensor, size: int) -> Tensor:
    """Images (n, C, H, W) blurred by Gaussians of `sigma` (n,) pixels, cut at an odd `size`, mirrored at the border."""
    n, channels, height, width = x.shape
    reach = torch.arange(size, device=x.device) - size // 2
    kernel = torch.softmax(-(reach**2) / (2 * sigma[:, None] ** 2), dim=1).to(x.dtype).repeat_interleave(channels, 0)
    flat = F.pad(x.reshape(1, n * channels, height, width), [size // 2] * 4, mode="reflect")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=n * channels)
    return F.conv2d(flat, kernel[:, None, :, None], groups=n * channels).view_as(x)
