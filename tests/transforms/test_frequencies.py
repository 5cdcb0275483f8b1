"""A high-pass view loses slow waves and keeps fast ones."""

import pytest
import torch

from lib.errors import WorkbookError
from lib.transforms.frequencies import high_pass


def wave(cycles, side=32):
    place = torch.arange(side) / side
    return (0.5 + 0.4 * torch.cos(2 * torch.pi * cycles * place)).expand(1, 3, side, side)


@pytest.mark.parametrize(("cycles", "left"), [(3, 0.0), (8, 0.0), (9, 1.0), (15, 1.0)])
def test_waves_inside_the_disc_go(cycles, left):
    found = high_pass(wave(cycles), 8)
    assert torch.allclose(found, left * (wave(cycles) - 0.5), atol=1e-5)


def test_a_radius_of_0_takes_the_mean_alone():
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(high_pass(x, 0), x - x.mean((2, 3), keepdim=True), atol=1e-6)
    with pytest.raises(WorkbookError, match="0 or more"):
        high_pass(x, -1)
