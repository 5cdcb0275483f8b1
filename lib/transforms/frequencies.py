"""Pictures by frequency: what is left without the slow changes."""

import torch
from torch import Tensor

from lib.errors import WorkbookError


def high_pass(x: Tensor, radius: float = 8) -> Tensor:
    """Images (n, C, H, W) without the frequencies within `radius` cycles a picture (AdvCL's third view).

    Each channel's Fourier transform loses a disc around frequency 0; the result has mean 0 and leaves [0,1].
    """
    if not radius >= 0:
        raise WorkbookError(f"The radius of the removed disc is 0 or more cycles, not {radius}: correct it.")
    rows, columns = (torch.fft.fftfreq(size, 1 / size, device=x.device) for size in x.shape[2:])
    outside = rows[:, None].square() + columns.square() > radius**2
    return torch.fft.ifft2(torch.fft.fft2(x) * outside).real
