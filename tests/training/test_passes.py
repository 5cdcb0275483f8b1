"""Passes are counted by mode and direction."""

import torch
from torch import nn

from lib.training.passes import count_passes, forward_equivalents


def test_attack_and_training_are_told_apart():
    layer = nn.Linear(3, 2)

    def work():
        layer.eval().requires_grad_(False)
        leaf = torch.rand(4, 3, requires_grad=True)
        layer(leaf).sum().backward()
        with torch.no_grad():
            layer(leaf)
        layer.train().requires_grad_(True)
        layer(torch.rand(8, 3)).sum().backward()

    found = count_passes(work, [layer], 4)
    assert found == {"attack forward": 2, "attack backward": 1, "training forward": 2, "training backward": 2}
    assert forward_equivalents(found) == 2 + 1 + 2 + 2 * 2


def test_hooks_are_gone_afterwards():
    layer = nn.Linear(3, 2)
    count_passes(lambda: None, [layer], 1)
    assert not layer._forward_hooks
