import pytest
import torch
from torch import nn

from lib.data.examples import ImagePairs
from lib.evaluation import eer
from lib.models import GrayInput, from_module, quick, similarity
from lib.models.small import SmallRecogniser
from lib.studies.pin.held_out import HeldOutError, misordered


def test_misordered_counts_couples():
    draw = torch.Generator().manual_seed(0)
    scores, same = torch.randint(0, 6, (40,), generator=draw) / 5, torch.arange(40) < 15
    gap = scores[same][:, None] - scores[~same]
    wanted = ((gap < 0).double() + (gap == 0).double() / 2).mean().item()
    assert misordered(scores, same) == pytest.approx(wanted)
    order = torch.randperm(40, generator=draw)
    assert misordered(scores[order], same[order]) == misordered(scores, same)


def test_without_a_budget_it_is_the_clean_error():
    draw = torch.Generator().manual_seed(1)
    x, y = (torch.rand(12, 1, 3, 3, generator=draw) for _ in range(2))
    same, model = torch.arange(12) % 2 == 0, from_module(nn.Flatten(), size=(3, 3), channels=1)
    clean = similarity(model, x, y)
    assert HeldOutError(ImagePairs(x, y, same), 0.0)(model) == pytest.approx(misordered(clean, same))
    assert HeldOutError(ImagePairs(x, y, same), 0.0, measure=eer)(model) == pytest.approx(eer(clean, same))


def test_an_attack_raises_it_and_the_mode_comes_back():
    torch.manual_seed(0)
    model = GrayInput(quick(SmallRecogniser(dim=16, width=8).eval())).train()
    x, same = torch.rand(8, 1, 112, 112), torch.arange(8) < 4
    y = torch.where(same.view(-1, 1, 1, 1), (x + 0.05 * torch.randn(8, 1, 112, 112)).clamp(0, 1), x.flip(0))
    with torch.no_grad():  # as `fit` calls it
        pairs = ImagePairs(x, y, same)
        clean, attacked = HeldOutError(pairs, 0.0)(model), HeldOutError(pairs, 0.2, steps=3)(model)
    assert attacked > clean
    assert model.training
