import math

import pytest
import torch
from torch import nn

from lib.defences.feature_denoising import DenoisingBlock, denoise_features
from lib.errors import WorkbookError
from lib.models import GrayInput, MobileFaceNet, from_module, quick
from lib.models.small import SmallRecogniser


def slow_means(block, x):
    """The non-local means of one map (C, H, W), place by place."""
    places = [(i, j) for i in range(x.shape[1]) for j in range(x.shape[2])]
    out = torch.zeros_like(x)
    query, key = (block.query(x[None])[0], block.key(x[None])[0]) if block.kind == "gaussian" else (x, x)
    for i in places:
        affinity = [sum(query[c, *i] * key[c, *j] for c in range(len(query))) for j in places]
        if block.kind == "gaussian":
            affinity = [(a / math.sqrt(len(query))).exp() for a in affinity]
            total = sum(affinity)
        else:
            total = len(places)
        out[:, *i] = sum(a * x[:, *j] for a, j in zip(affinity, places, strict=True)) / total
    return out


@pytest.mark.parametrize("kind", ["gaussian", "dot"])
@torch.no_grad()
def test_means_equal_the_double_loop(kind):
    torch.manual_seed(0)
    block, x = DenoisingBlock(4, kind), torch.randn(2, 4, 3, 5)
    for part in block.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight)
    expected = torch.stack([slow_means(block, one) for one in x])
    torch.testing.assert_close(block.means(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block(x), x + block.weight(expected), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_pooled_means_run_over_the_pooled_map():
    torch.manual_seed(1)
    block, x = DenoisingBlock(3, "dot", pool=2), torch.randn(1, 3, 4, 6)
    others = torch.stack([x[0, :, i : i + 2, j : j + 2].amax((1, 2)) for i in (0, 2) for j in (0, 2, 4)])
    rows = x[0].flatten(1).T
    expected = (rows @ others.T @ others / len(others)).T.view(1, 3, 4, 6)
    torch.testing.assert_close(block.means(x), expected)


@pytest.mark.parametrize("kind", ["gaussian", "dot"])
@pytest.mark.parametrize("make", [SmallRecogniser, MobileFaceNet])
def test_a_new_block_changes_nothing_and_the_original_stays(make, kind):
    torch.manual_seed(2)
    original = quick(make())
    before = {name: value.clone() for name, value in original.state_dict().items()}
    denoised, x = denoise_features(original, kind=kind, pool=2), torch.rand(2, 3, 112, 112)
    assert sum(isinstance(part, DenoisingBlock) for part in denoised.modules()) == 3
    assert torch.allclose(denoised(x), original(x), atol=1e-6)
    assert "with feature denoising" in denoised.name
    assert "feature denoising" not in original.name
    assert all(weight.requires_grad for weight in denoised.parameters())
    assert not any(weight.requires_grad for weight in original.parameters())
    assert not any(weight is other for weight in denoised.parameters() for other in original.parameters())
    with torch.no_grad():
        for weight in denoised.parameters():
            weight.add_(0.01)
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())


def test_maps_of_the_default_places():
    original, shapes = quick(MobileFaceNet()), []
    denoised = denoise_features(original)
    for part in denoised.modules():
        if isinstance(part, DenoisingBlock):
            part.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    GrayInput(denoised)(torch.rand(1, 1, 112, 112))
    assert shapes == [(64, 28, 28), (128, 14, 14), (128, 7, 7)]


def test_every_weight_learns_once_the_last_convolution_has_left_zero():
    model = denoise_features(quick(SmallRecogniser()))
    block = next(part for part in model.modules() if isinstance(part, DenoisingBlock))
    nn.init.normal_(block.weight.weight, std=0.1)
    model(torch.rand(2, 3, 112, 112)).square().sum().backward()
    # the key's bias adds the same to all affinities of a place, which the softmax ignores
    silent = [name for name, weight in block.named_parameters() if weight.grad.abs().max() == 0]
    assert set(silent) <= {"key.bias"}


def test_bad_input():
    recogniser = from_module(nn.Flatten(), size=(4, 4))
    with pytest.raises(WorkbookError, match="no known places"):
        denoise_features(recogniser)
    with pytest.raises(WorkbookError, match="has no layer nowhere"):
        denoise_features(recogniser, after=("nowhere",))
    with pytest.raises(WorkbookError, match=r"gives no map \(n, C, H, W\)"):
        denoise_features(recogniser, after=("module",))
    with pytest.raises(WorkbookError, match="kind is one of gaussian, dot"):
        DenoisingBlock(4, "median")
    with pytest.raises(WorkbookError, match="at least 1 pixel"):
        DenoisingBlock(4, pool=0)
