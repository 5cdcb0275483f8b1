import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lib.defences.magnet import MagNet, detector_threshold, reconstruction_error
from lib.errors import WorkbookError


class Half(nn.Module):
    def forward(self, x):
        return x / 2


def test_reformer_keeps_shape_range_and_gradient():
    x = torch.rand(2, 1, 9, 11, requires_grad=True)
    y = MagNet(4)(x)
    y.sum().backward()
    assert y.shape == x.shape
    assert (y > 0).all()
    assert (y < 1).all()
    assert (x.grad != 0).all()


def test_shape_of_the_papers_network():
    convolutions = [layer for layer in MagNet().layers if isinstance(layer, nn.Conv2d)]
    assert [(conv.in_channels, conv.out_channels) for conv in convolutions] == [(1, 32), (32, 32), (32, 1)]


@pytest.mark.parametrize("p", [1, 2])
def test_reconstruction_error_by_hand(p):
    x = torch.tensor([[[[0.4, 0.8]]], [[[0.0, 1.0]]]])
    expected = torch.tensor([(0.2**p + 0.4**p) / 2, 0.5**p / 2])
    assert torch.allclose(reconstruction_error(Half(), x, p), expected)


@given(st.integers(1, 400), st.floats(0, 0.99), st.integers(0, 99))
def test_threshold_keeps_the_false_positive_rate(count, fpr, seed):
    errors = torch.rand(count, generator=torch.Generator().manual_seed(seed))
    threshold = detector_threshold(errors, fpr)
    assert (errors > threshold).sum() <= fpr * count + 1e-6
    lower = errors[errors < threshold]
    assert len(lower) == 0 or (errors > lower.max()).sum() > fpr * count - 1e-6  # the next lower one rejects too many


def test_threshold_by_hand():
    assert detector_threshold(torch.arange(100.0), 0.05) == 94  # 95 ... 99 lie above
    assert detector_threshold(torch.arange(100.0), 0.29) == 70
    assert detector_threshold(torch.arange(10.0), 0.001) == 9


def test_bad_requests():
    with pytest.raises(WorkbookError, match="sigmoid or relu"):
        MagNet(activation="tanh")
    with pytest.raises(WorkbookError, match="a rate in"):
        detector_threshold(torch.rand(3), 1.0)
