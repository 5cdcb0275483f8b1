import pytest
import torch
from torch import nn

from lib.defences import Defended
from lib.defences.hgd import Denoiser
from lib.errors import WorkbookError
from lib.models import GrayInput, quick
from lib.models.small import SmallRecogniser


def awake(width=2, seed=0):
    """A denoiser whose last layer no longer is zero."""
    torch.manual_seed(seed)
    model = Denoiser(width)
    nn.init.normal_(model.correction.weight)
    return model


def test_starts_as_the_identity():
    x = torch.rand(2, 1, 112, 112)
    assert torch.equal(Denoiser(width=4)(x), x)


def test_the_papers_layout():
    model = Denoiser()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == (2 + 3 + 3 + 3 + 3) + (3 + 3 + 3 + 2) + 1
    assert [block[0].out_channels for block in model.down] == [64, 128, 256, 256, 256]
    assert [(block[0].in_channels, block[0].out_channels) for block in model.up] == [
        (512, 256),
        (512, 256),
        (384, 128),
        (192, 64),
    ]
    sizes = []
    for block in model.down:
        block.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    model.eval()(torch.rand(1, 1, 112, 112))
    assert sizes == [112, 56, 28, 14, 7]


def test_sizes_that_do_not_halve():
    assert awake()(torch.rand(2, 1, 37, 50)).shape == (2, 1, 37, 50)


def test_the_correction_does_not_depend_on_memory_layout():
    model, x = awake().eval(), torch.rand(3, 1, 32, 32)
    last = torch.rand(3, 32, 32, 1).permute(0, 3, 1, 2).copy_(x)  # channels last
    results = []
    for images in (x, last):
        leaf = images.clone(memory_format=torch.preserve_format).requires_grad_()
        out = model(leaf)
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), [leaf, *model.parameters()])))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_agree_with_differences():
    model, x = awake().eval().double(), torch.rand(1, 1, 16, 16, dtype=torch.float64)
    direction, step = torch.randn_like(x), 1e-6
    weight = torch.randn_like(x)
    leaf = x.clone().requires_grad_()
    (model(leaf) * weight).sum().backward()
    with torch.no_grad():
        slow = ((model(x + step * direction) - model(x - step * direction)) * weight).sum() / (2 * step)
    torch.testing.assert_close((leaf.grad * direction).sum(), slow, rtol=1e-5, atol=1e-6)


def test_stands_in_front_of_a_recogniser():
    recogniser = GrayInput(quick(SmallRecogniser()))
    model, x = Defended(recogniser, Denoiser(width=2)), torch.rand(2, 1, 112, 112)
    assert torch.allclose(model(x), recogniser(x))
    assert "HGD denoiser (width 2)" in model.name
    x.requires_grad_()
    model.embed(x)[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0


def test_bad_input():
    with pytest.raises(WorkbookError, match="width of at least 1"):
        Denoiser(width=0)
    with pytest.raises(WorkbookError, match=r"takes images \(n, 1, H, W\)"):
        Denoiser(width=1)(torch.rand(1, 3, 16, 16))
