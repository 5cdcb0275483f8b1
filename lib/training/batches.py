"""From a data set to stored training images, and from these to what a model reads."""

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.data.sets import ImageSet


def resize_uint8(images: ImageSet, index: LongTensor, side: int, chunk: int = 1024) -> Tensor:
    """The pictures `index` as uint8 (k, C, side, side), antialiased where they are larger."""
    parts = []
    for some in index.split(chunk):
        pixels = images.images(some)
        if pixels.shape[2:] != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True, align_corners=False)
        parts.append((255 * pixels).round().clamp(0, 255).to(torch.uint8))
    return torch.cat(parts)


def pixels_of(images: Tensor, index: LongTensor, model: nn.Module) -> Tensor:
    """Images `index` as float32 in [0,1] on the model's device, in plain NCHW memory."""
    part = images[index.to(images.device)].to(next(model.parameters()).device)
    part = part.float() / 255 if part.dtype == torch.uint8 else part.float()
    return part.clone(memory_format=torch.contiguous_format)
