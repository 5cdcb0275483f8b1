"""Scores of corrupted probes against single passes, and drawn error rates against single ones."""

import pytest
import torch

from lib.evaluation import eer
from lib.evaluation.resampling import pair_weights
from lib.evaluation.verification import best_threshold
from lib.models import embed_all
from lib.models.small import SmallRecogniser
from lib.studies.robust_ssl import corrupted_faces as page
from lib.transforms.corruptions import corrupt


def scores(shift=0.0):
    """Twenty pairs of ten people under two conditions, the second shifted toward confusion."""
    same = torch.arange(20) < 10
    people = torch.stack([torch.arange(20) % 10, torch.where(same, 0, 1) + torch.arange(20) % 10], 1)
    people[:, 1] %= 10
    clean = torch.where(same, 0.7, 0.1) + 0.3 * torch.rand(20, generator=torch.Generator().manual_seed(0))
    under = torch.stack([clean, clean - shift * same.float()])[:, None].expand(-1, 3, -1)
    return page.FaceScores(("fog", "jpeg"), (1, 3, 5), clean, under, same, people, torch.arange(20) % 2 == 0)


def test_probes_alone_are_corrupted():
    model = SmallRecogniser().eval()
    x = (255 * torch.rand(4, 3, *model.size, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    enrolled = embed_all(model, x.flip(0).float() / 255).cpu()
    found = page.scores_corrupted(model, x, enrolled, "snow", (1, 4), page.CONSTANTS)
    seen = corrupt(x.float() / 255, "snow", 4, torch.Generator().manual_seed(4), page.CONSTANTS)
    assert torch.allclose(found[1], (embed_all(model, seen).cpu() * enrolled).sum(1))
    assert found.shape == (2, 4)


def test_drawn_rates_are_those_of_single_draws():
    given = scores(0.6)
    clean, under = page.drawn_eer(given, resamples=4, seed=2)
    assert clean[0].item() == pytest.approx(100 * eer(given.clean, given.same))
    assert under[0, 1, 2].item() == pytest.approx(100 * eer(given.under[1, 2], given.same))
    (weights,) = pair_weights(given.same, given.people, 4, 2)
    for row in range(4):
        wanted = 100 * eer(given.under[1, 0], given.same, weights[row])
        assert under[1 + row, 1, 0].item() == pytest.approx(wanted, nan_ok=True)
    assert under.shape == (5, 2, 3)


def test_confused_pairs_raise_the_rate():
    _, under = page.drawn_eer(scores(0.9), resamples=2)
    assert under[0, 1, 0] > under[0, 0, 0] + 20


def test_small_probes_are_enlarged_after_the_corruption():
    model = SmallRecogniser().eval()
    x = (255 * torch.rand(3, 3, *model.size, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    small = page.shrunk(x, 32)
    assert min(small.shape[2:]) == 32
    assert small.dtype == torch.uint8
    enrolled = embed_all(model, x.float() / 255).cpu()
    found = page.scores_corrupted(model, small, enrolled, "fog", (5,), 32)
    seen = corrupt(small.float() / 255, "fog", 5, torch.Generator().manual_seed(5), 32)
    assert torch.allclose(found[0], (embed_all(model, page.fitted(seen, model.size)).cpu() * enrolled).sum(1))
    assert page.fitted(x.float() / 255, model.size).shape == x.shape


def test_a_fixed_threshold_comes_from_the_other_half():
    given = scores(0.9)
    found = page.drawn_frozen(given, resamples=3, seed=2)
    same, half = given.same, given.half
    bound = torch.empty(20)
    for part in (half, ~half):
        bound[~part] = best_threshold(given.clean[part], same[part])
    wrong = lambda row: ((row > bound) != same).double()  # noqa: E731
    halves = lambda row: 50 * (wrong(row)[same].mean() + wrong(row)[~same].mean()).item()  # noqa: E731
    assert found.shape == (4, 4)
    assert found[0, 0].item() == pytest.approx(halves(given.clean))
    wanted = (halves(given.under[0, 1]) + halves(given.under[1, 1])) / 2
    assert found[0, 2].item() == pytest.approx(wanted)
    assert found[0, 2] > found[0, 0] + 10


def test_two_halves_order_alike_where_chance_is_small():
    clear = scores(0.0)
    order = torch.arange(6.0)
    shift = order[:, None, None] * 0.15 * clear.same.float()
    under = (clear.clean - shift).expand(6, 3, 20)
    given = page.FaceScores(tuple("abcdef"), (1, 3, 5), clear.clean, under, clear.same, clear.people, clear.half)
    assert page.halves_alike(given) > 0.8
