"""From stored training images to what a model reads."""

import torch
from torch import LongTensor, Tensor, nn


def pixels_of(images: Tensor, index: LongTensor, model: nn.Module) -> Tensor:
    """Images `index` as float32 in [0,1] on the model's device, in plain NCHW memory."""
    part = images[index.to(images.device)].to(next(model.parameters()).device)
    part = part.float() / 255 if part.dtype == torch.uint8 else part.float()
    return part.clone(memory_format=torch.contiguous_format)
