import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from lib.errors import WorkbookError
from lib.evaluation.image_quality import psnr, ssim


def batches():
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(3, 2, 16, 19, generator=draw)
    return x, (x + 0.2 * torch.randn(x.shape, generator=draw)).clamp(0, 1)


def slow_ssim(x, y):
    """Wang et al.'s equation 13 on the places where the whole window lies in the picture."""
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for a, b in zip(x.double().numpy(), y.double().numpy(), strict=True):
        mean = [convolve2d(part, window, "valid") for part in (a, b, a * a, b * b, a * b)]
        spread = (mean[2] - mean[0] ** 2, mean[3] - mean[1] ** 2, mean[4] - mean[0] * mean[1])
        above = (2 * mean[0] * mean[1] + 1e-4) * (2 * spread[2] + 9e-4)
        below = (mean[0] ** 2 + mean[1] ** 2 + 1e-4) * (spread[0] + spread[1] + 9e-4)
        values.append((above / below).mean())
    return sum(values) / len(values)


def test_ssim_is_wang_s_formula():
    x, y = batches()
    wanted = torch.tensor([slow_ssim(*pair) for pair in zip(x, y, strict=True)])
    torch.testing.assert_close(ssim(x, y).double(), wanted, rtol=0, atol=1e-4)
    torch.testing.assert_close(ssim(x, x), torch.ones(3))
    assert (ssim(x, y) < 0.99).all()


def test_psnr_is_its_formula():
    x, y = batches()
    wanted = -10 * (x - y).square().mean((1, 2, 3)).log10()
    torch.testing.assert_close(psnr(x, y), wanted)
    assert psnr(x, x).tolist() == [math.inf] * 3


def test_bad_images():
    x, y = batches()
    for measure in (ssim, psnr):
        with pytest.raises(WorkbookError, match="give the same shape"):
            measure(x, y[:2])
        with pytest.raises(WorkbookError, match="give the same shape"):
            measure((255 * x).byte(), (255 * y).byte())
    with pytest.raises(WorkbookError, match="windows of 11 pixels"):
        ssim(x[:, :, :8], y[:, :, :8])
