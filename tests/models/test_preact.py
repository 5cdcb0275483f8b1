import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.errors import WorkbookError
from lib.models.classifiers import Classifier
from lib.models.preact import PreActResNet, WideResNet

TRUNKS = {
    "preact": lambda **settings: PreActResNet(18, width=2, **settings),
    "preact half": lambda **settings: PreActResNet(34, width=2, stem="half", **settings),
    "preact imagenet": lambda **settings: PreActResNet(18, width=3, stem="imagenet", **settings),
    "wide": lambda **settings: WideResNet(16, widen=2, base=2, **settings),
    "wide by one": lambda **settings: WideResNet(10, widen=1, base=3, **settings),
}


@pytest.fixture(params=TRUNKS)
def trunk(request):
    """In eval mode, in double precision, with norms that are not the identity."""
    torch.manual_seed(0)
    model = TRUNKS[request.param]()
    with torch.no_grad():
        for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
            for values in (norm.running_var, norm.weight):
                values.uniform_(0.5, 1.5)
            for values in (norm.running_mean, norm.bias):
                values.uniform_(-0.2, 0.2)
    return model.double().eval()


def convolved(x, weight, stride):
    """Places and kernel offsets one by one; as many zeros around as keep the size."""
    size = weight.shape[2]
    padded = F.pad(x, [size // 2] * 4)
    rows, columns = (range(0, length, stride) for length in x.shape[2:])
    places = [
        [torch.einsum("nchw,ochw->no", padded[:, :, i : i + size, j : j + size], weight) for j in columns] for i in rows
    ]
    return torch.stack([torch.stack(row, -1) for row in places], -2)


def rectified(x, norm):
    columns = (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    mean, variance, scale, shift = (value[:, None, None] for value in columns)
    return ((x - mean) / (variance + norm.eps).sqrt() * scale + shift).clamp(min=0)


def stepwise(model, x):
    """He et al. 2016b, figure 1 (b): norm, ReLU, convolution, twice, plus the input or its projection."""
    stem = model.stem[0]
    x = convolved(x, stem.weight, stem.stride[0])
    x = F.max_pool2d(x, 3, 2, 1) if len(model.stem) > 1 else x
    for s, stage in enumerate(model.blocks):
        for b, block in enumerate(stage):
            stride = 2 if s > 0 and b == 0 else 1
            first, norm, _, second = block.body
            entered = rectified(x, block.enter[0])
            out = convolved(rectified(convolved(entered, first.weight, stride), norm), second.weight, 1)
            projected = stride > 1 or first.in_channels != first.out_channels
            x = out + (convolved(entered, block.shortcut[-1].weight, stride) if projected else x)
    return rectified(x, model.tail[0])


@torch.no_grad()
def test_the_network_is_the_one_of_the_papers(trunk):
    x = torch.rand(2, 3, 11, 14, dtype=torch.float64)
    maps = stepwise(trunk, x)
    torch.testing.assert_close(trunk.tail(trunk.blocks(trunk.stem(x))), maps)
    torch.testing.assert_close(trunk(x), maps.flatten(2).mean(2))


# Zagoruyko and Komodakis 2016, tables 4 and 5, in millions
WIDE = {(40, 4): 8.9, (40, 8): 35.7, (28, 10): 36.5, (28, 12): 52.5, (22, 8): 17.2, (22, 10): 26.8, (16, 8): 11.0}


def millions(trunk, classes=10):
    with torch.device("meta"):
        return sum(weight.numel() for weight in Classifier(trunk(), classes).parameters()) / 1e6


@pytest.mark.parametrize(("depth", "widen"), WIDE)
def test_wide_networks_have_the_published_number_of_weights(depth, widen):
    assert round(millions(lambda: WideResNet(depth, widen)), 1) == WIDE[depth, widen]


def test_the_number_of_weights_of_the_sources_networks():
    assert millions(PreActResNet) == pytest.approx(11.172170)
    assert millions(WideResNet) == pytest.approx(36.479194)
    assert round(millions(lambda: WideResNet(34, 10)), 2) == 46.16


@pytest.mark.parametrize(("stem", "shrink"), [("small", 8), ("half", 16), ("imagenet", 32)])
def test_shapes_at_odd_sizes(stem, shrink):
    model = PreActResNet(18, width=4, stem=stem, channels=1).eval()
    maps = model.tail(model.blocks(model.stem(torch.rand(2, 1, 37, 45))))
    assert maps.shape == (2, model.dim, math.ceil(37 / shrink), math.ceil(45 / shrink))
    assert model.dim == 32


def test_shapes_of_wide_networks():
    model = WideResNet(16, widen=3, base=2, channels=1).eval()
    assert [len(stage) for stage in model.blocks] == [2, 2, 2]
    assert model.tail(model.blocks(model.stem(torch.rand(2, 1, 37, 45)))).shape == (2, 24, 10, 12)
    assert model.dim == 24


def test_a_block_adds_its_input_untouched(trunk):
    for stage in trunk.blocks:
        for block in stage[1:]:
            nn.init.zeros_(block.body[-1].weight)
            x = torch.randn(2, block.body[0].in_channels, 5, 5, dtype=torch.float64)
            assert torch.equal(block(x), x)


def test_the_memory_layout_changes_no_gradient():
    """With 8 channels and fewer a strided 1x1 convolution would end the process."""
    torch.manual_seed(0)
    model, x = WideResNet(10, widen=1, base=4), torch.rand(16, 3, 24, 24)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=layout)(x.contiguous(memory_format=layout)).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
        model.zero_grad()
    for plain, last in zip(*gradients, strict=True):
        assert (plain - last).norm() <= 0.1 * plain.norm() + 1e-4  # other rounding turns a few ReLUs over


@pytest.mark.parametrize("name", TRUNKS)
def test_any_norm(name):
    model = TRUNKS[name](norm=lambda channels: nn.GroupNorm(1, channels))
    kinds = {type(module).__name__ for module in model.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: PreActResNet(50), "depth is one of 18, 34, not 50"),
        (lambda: PreActResNet(stem="tiny"), "stem is one of small, half, imagenet, not 'tiny'"),
        (lambda: PreActResNet(width=0), "first stage, at least 1, not 0"),
        (lambda: WideResNet(30), "10, 16, 22, 28 and so on in sixes, not 30"),
        (lambda: WideResNet(4), "not 4"),
        (lambda: WideResNet(widen=0), "at least 1, not 0 and 16"),
        (lambda: WideResNet(base=0), "at least 1, not 10 and 0"),
    ],
)
def test_bad_settings(build, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        build()
