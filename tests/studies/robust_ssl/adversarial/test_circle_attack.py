"""ACL on the circle: turns stay within epsilon, and an identity is reached as far as it is attacked."""

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.studies.robust_ssl.adversarial.circle_attack import (
    RADII,
    TEMPERATURES,
    attacked_circle_grid,
    contrast,
    move_attacked,
    reach_of,
    turned_uphill,
)

ANGLE = 2 * torch.pi * torch.arange(6) / 6


def test_a_turn_stays_within_epsilon_and_raises_the_contrast():
    torch.manual_seed(0)
    net = nn.Linear(2, 2)
    views = ANGLE.repeat(2) + 0.05
    moved = turned_uphill(net, views, 0.1, 0.5)
    assert (moved - views).abs().max() <= 0.1 + 1e-6
    assert contrast(net, moved, 0.5) > contrast(net, views, 0.5)
    assert torch.equal(turned_uphill(net, views, 0.0, 0.5), views)


def test_the_identity_turns_as_far_as_its_picture():
    assert torch.allclose(reach_of(nn.Identity(), ANGLE, 0.2), torch.full((6,), 0.2), atol=1e-5)


def test_the_grid_has_a_case_for_each_knob():
    found = attacked_circle_grid(1)
    assert found["places"].shape == (len(TEMPERATURES), len(RADII), 24)
    assert (found["reach"] >= 0).all()
    with pytest.raises(WorkbookError, match="above 0"):
        move_attacked(0.0)
