import pytest
import torch
from torch import nn

from lib.attacks import intensity_of
from lib.errors import WorkbookError
from lib.models import from_module, similarity
from lib.models.base import embed_any
from lib.studies.pin.subspaces import (
    Noise,
    band,
    median_pair,
    predicted_std,
    regions,
    similarity_gradient,
    similarity_under_noise,
    spread_and_shift,
    subspace_noise,
    windows,
)

SIZE = (12, 10)


@pytest.fixture
def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(120, 16), nn.Tanh(), nn.Linear(16, 8))
    return from_module(body, size=SIZE, channels=1)


@pytest.fixture
def pair():
    draw = torch.Generator().manual_seed(1)
    return torch.rand(6, 1, *SIZE, generator=draw), torch.rand(6, 1, *SIZE, generator=draw)


def test_regions_are_disjoint_thirds():
    masks = regions((112, 112))
    thirds = torch.stack([masks[name] for name in ("#1 bottom", "#2 middle", "#3 top")])
    assert thirds.sum(0).max() == 1
    assert [int(mask.sum()) for mask in masks.values()] == [37 * 112, 37 * 112, 37 * 112, 112 * 112]
    assert masks["#3 top"][0].all()
    assert masks["#1 bottom"][-1].all()


def test_windows_cover_the_face():
    slid = windows((112, 112), 16, 4)
    assert list(slid)[0] == 8
    assert torch.stack(list(slid.values())).sum(0).min() >= 1


def test_a_band_outside_is_refused():
    with pytest.raises(WorkbookError, match="not all in an image of 12 rows"):
        band(SIZE, 10, 3)


def test_noise_has_the_intensity_and_stays_in_its_subspace(pair):
    mask = band(SIZE, 2, 3)
    noise = subspace_noise(pair[0], mask, 0.04, 5, torch.Generator().manual_seed(0))
    assert (noise * (1 - mask)).abs().max() == 0
    for draw in noise.unbind(1):
        assert torch.allclose(intensity_of(pair[0], pair[0] + draw), torch.full((6,), 0.04), rtol=1e-4)
    by_hand = 0.04 * (2 * pair[0] - 1).flatten(1).norm(dim=1) / 2
    assert torch.allclose(noise[:, 0].flatten(1).norm(dim=1), by_hand, rtol=1e-4)


def test_agrees_with_a_slow_loop(model, pair):
    mask = {"band": band(SIZE, 2, 3)}
    fast = similarity_under_noise(model, *pair, mask, Noise(0.04, 3, seed=5))["band"]
    draw = torch.Generator().manual_seed(5)
    noise = subspace_noise(pair[0], mask["band"], 0.04, 3, draw)
    other = embed_any(model, pair[1])
    slow = torch.stack([(embed_any(model, pair[0] + noise[:, k]) * other).sum(1) for k in range(3)], 1)
    assert torch.allclose(fast, slow, atol=1e-6)


def test_few_noises_do_not_bias_the_spread():
    draws = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(0))
    spread, shift = spread_and_shift({"all": draws}, torch.zeros(20_000))
    assert spread["all"].mean() == pytest.approx(1, abs=0.01)
    assert shift["all"].mean() == pytest.approx(0, abs=0.01)


def test_no_noise_no_change(model, pair):
    scores = similarity_under_noise(model, *pair, regions(SIZE), Noise(1e-9, 4))
    spread, shift = spread_and_shift(scores, similarity(model, *pair))
    assert max(values.abs().max() for values in [*spread.values(), *shift.values()]) < 1e-6


def test_the_gradient_predicts_the_spread_of_weak_noise(model, pair):
    masks = regions(SIZE)
    gradient = similarity_gradient(model, *pair)
    scores = similarity_under_noise(model, *pair, masks, Noise(0.005, 600))
    for name, mask in masks.items():
        measured = scores[name].std(1)
        assert torch.allclose(measured, predicted_std(gradient, pair[0], mask, 0.005), rtol=0.15)


def test_the_gradient_is_right_by_differences(model, pair):
    x, y = (side[:1] for side in pair)
    gradient = similarity_gradient(model, x, y)
    step = torch.zeros_like(x)
    step[0, 0, 4, 4] = 1e-2
    difference = (similarity(model, x + step, y) - similarity(model, x - step, y)) / 2e-2
    assert torch.allclose(gradient[0, 0, 4, 4], difference[0], atol=1e-3)


def test_the_median_pair_of_a_kind():
    clean, kind = torch.tensor([0.9, 0.1, 0.5, 0.7, 0.2]), torch.tensor([True, False, True, True, False])
    assert median_pair(clean, kind) == 3
    assert median_pair(clean, ~kind) == 4
