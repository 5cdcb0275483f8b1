import math

import pytest
import torch
import torch.nn.functional as F

from lib.defences.pixel import CausalConv, PixelCNN, PixelDefend, bits_per_pixel, purify
from lib.errors import WorkbookError


def model_of(layers=3, levels=32, width=6, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = PixelCNN(width, layers, levels).double()
        for weight in model.parameters():
            weight.data.normal_(0, 0.5)  # strong dependence, also through the biases at the borders
    return model.eval()


def images(count=3, height=8, width=8, seed=0):
    return torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@torch.no_grad()
def naive(model, codes, reach):
    """Pixel by pixel, the whole network each time."""
    found, top = codes.clone(), model.levels - 1
    level = torch.arange(model.levels)
    for row in range(codes.shape[1]):
        for column in range(codes.shape[2]):
            logits = model((found / top).unsqueeze(1).double())[:, :, row, column]
            far = (level - codes[:, row, column, None]).abs() > reach
            found[:, row, column] = logits.masked_fill(far, -torch.inf).argmax(1)
    return found


@pytest.mark.parametrize(
    ("height", "width", "layers", "reach"), [(8, 8, 3, 4), (5, 9, 1, 31), (9, 4, 5, 6), (3, 1, 2, 8)]
)
def test_wavefronts_equal_raster_order(height, width, layers, reach):
    model = model_of(layers)
    codes = model.codes(images(3, height, width))[:, 0]
    found = purify(model, codes, reach)
    assert torch.equal(found, naive(model, codes, reach))
    assert (found != codes).any()
    assert (found - codes).abs().max() <= reach


def test_purifying_is_not_one_dense_pass():
    model = model_of()
    codes = model.codes(images())[:, 0]
    with torch.no_grad():
        logits = model((codes / 31).unsqueeze(1).double())
    assert not torch.equal(purify(model, codes, 31), logits.argmax(1))


def test_a_pixel_sees_only_earlier_pixels():
    model, x = model_of(), images(1, 7, 7)
    x.requires_grad_()
    model(x)[0, :, 3, 3].sum().backward()
    seen = x.grad[0, 0] != 0
    earlier = torch.arange(49).view(7, 7) < 3 * 7 + 3
    assert not seen[~earlier].any()
    assert seen[3, 2]
    assert seen[2, 2:5].all()


@pytest.mark.parametrize("own", [False, True])
def test_causal_convolution_against_a_masked_one(own):
    conv, x = CausalConv(2, 3, own), torch.rand(2, 2, 6, 5)
    kernel = torch.zeros(3, 2, 9)
    kernel[:, :, : 4 + own] = conv.weight.data
    assert torch.allclose(conv(x), F.conv2d(x, kernel.view(3, 2, 3, 3), conv.bias, padding=1), atol=1e-6)


def test_bits_per_pixel():
    x, model = images(2, 6, 6), model_of()
    p = model(x).softmax(1).gather(1, model.codes(x))
    assert bits_per_pixel(model, x).item() == pytest.approx(-p.log2().mean().item())
    for weight in model.parameters():
        weight.data.zero_()
    assert bits_per_pixel(model, x).item() == pytest.approx(math.log2(32))


def test_the_module_stays_within_eps():
    model, x = model_of(levels=256).float(), images().float()
    y = PixelDefend(model, 16 / 255)(x)
    assert y.shape == x.shape
    assert y.dtype == x.dtype
    assert (y - x).abs().max() <= 16.5 / 255 + 1e-6  # the input is rounded to a level first
    assert torch.allclose(PixelDefend(model, 0.0)(x), (x * 255).round() / 255)


def test_bad_requests():
    with pytest.raises(WorkbookError, match="2 to 256 levels"):
        PixelCNN(levels=1)
    with pytest.raises(WorkbookError, match="takes gray images"):
        PixelDefend(model_of())(torch.rand(1, 3, 8, 8))
    with pytest.raises(WorkbookError, match="eps is at least 0"):
        PixelDefend(model_of(), -0.1)
