import math

import pytest
import torch
import torchvision
from torch import nn

from lib.errors import WorkbookError
from lib.models.resnets import ResNet


@torch.no_grad()
def published(depth):
    """torchvision's network with statistics and affine parameters of its norms that are not the initial ones."""
    torch.manual_seed(depth)
    model = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    model.fc = nn.Identity()
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        for values in (norm.running_var, norm.weight):
            values.uniform_(0.5, 1.5)
        for values in (norm.running_mean, norm.bias):
            values.uniform_(-0.2, 0.2)
    return model.eval()


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_width_64_is_the_published_network(depth):
    reference, model = published(depth), ResNet(depth, stem="imagenet").eval()
    theirs, ours = reference.state_dict(), model.state_dict()
    assert [value.shape for value in theirs.values()] == [value.shape for value in ours.values()]
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    assert sum(weight.numel() for weight in model.parameters()) == sum(w.numel() for w in reference.parameters())
    x = torch.randn(2, 3, 33, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(x), reference(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stem", "shrink"), [("small", 8), ("half", 16), ("imagenet", 32)])
@pytest.mark.parametrize(("depth", "channels"), [(18, 32), (50, 128)])
def test_shapes_at_odd_sizes(stem, shrink, depth, channels):
    model, x = ResNet(depth, width=4, stem=stem, channels=1).eval(), torch.rand(2, 1, 37, 45)
    maps = model.blocks(model.stem(x))
    assert maps.shape == (2, channels, math.ceil(37 / shrink), math.ceil(45 / shrink))
    assert model.dim == channels
    torch.testing.assert_close(model(x), maps.flatten(2).mean(2))


def test_convolutions_start_kaiming_normal_and_norms_as_the_identity():
    torch.manual_seed(0)
    model = ResNet(18, width=32)
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels > 3:
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] ** 2))
            assert module.weight.std().item() == pytest.approx(expected, rel=0.1)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()


def test_the_memory_layout_changes_no_gradient():
    """At width 8 and 56 pixels a strided 1x1 convolution would end the process (see Block)."""
    torch.manual_seed(0)
    model, x = ResNet(18, width=8), torch.rand(16, 3, 56, 56)
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model.to(memory_format=layout)(x.contiguous(memory_format=layout)).square().sum().backward()
        gradients.append([weight.grad.clone() for weight in model.parameters()])
        model.zero_grad()
    for plain, last in zip(*gradients, strict=True):
        assert (plain - last).norm() <= 0.1 * plain.norm()  # other rounding turns a few ReLUs over


def test_any_norm():
    model = ResNet(18, width=8, norm=lambda channels: nn.GroupNorm(2, channels))
    kinds = {type(module).__name__ for module in model.modules()}
    assert "GroupNorm" in kinds
    assert "BatchNorm2d" not in kinds


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"depth": 20}, "depth is one of 18, 34, 50, not 20"),
        ({"stem": "tiny"}, "stem is one of small, half, imagenet, not 'tiny'"),
        ({"width": 0}, "at least 1, not 0"),
    ],
)
def test_bad_settings(settings, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        ResNet(**settings)
