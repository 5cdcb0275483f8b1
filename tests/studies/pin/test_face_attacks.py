import math

import pytest
import torch
from torch import nn

from lib import cache
from lib.attacks import pair_decision, with_dropout
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from lib.evaluation import eer
from lib.models import from_module, similarity
from lib.studies.pin import face_attacks
from lib.studies.pin.evaluation import Contest
from tests.studies.pin.small import Run

SIZE = (40, 112)  # just enough for a forehead of 112 columns

Search = face_attacks.Search
black_box = face_attacks.black_box


def of_kind(x, y, same):
    return ImagePairs(x, y, torch.full((len(x),), same))


class Coin(nn.Module):
    """A network whose embedding is noise: every answer is new."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * torch.randn(len(x), 2)


def system(body, size=SIZE):
    return from_module(body, size=size, channels=1)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.Tanh(), nn.Flatten(), nn.LazyLinear(16))
    body(torch.zeros(1, 1, *SIZE))
    return system(body)


@pytest.fixture(scope="module")
def sides():
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(6, 1, *SIZE, generator=draw)
    near = (x + 0.1 * torch.rand(x.shape, generator=draw)).clamp(0, 1)
    return x, near, torch.rand(x.shape, generator=draw)


def middle(model, x, y, z):
    """A threshold between the scores of near and of far pairs."""
    return float((similarity(model, x, y).min() + similarity(model, x, z).max()) / 2)


def test_checkpoints_hold_the_wanted_counts_that_are_reached():
    assert face_attacks.checkpoints(30) == (10, 20, 30)
    assert face_attacks.checkpoints(1000) == (10, 20, 50, 100, 200, 500, 1000)
    assert {1000, 5000, 10_000} <= set(face_attacks.checkpoints(10_000))
    assert max(face_attacks.checkpoints(700)) == 700


@pytest.mark.parametrize("goal", ["dodging", "impersonation"])
def test_black_box_ends_misjudged_and_nearer_than_it_began(goal, model, sides):
    x, near, far = sides
    level, dodge = middle(model, x, near, far), goal == "dodging"
    y = near if dodge else far
    found = black_box(model, of_kind(x, y, dodge), Search(200, (50, 200), level, asks=3))
    assert found["mse"].shape == (6, 2)
    assert (found["mse"][:, 1] <= found["mse"][:, 0]).all()
    assert found["mse"][:, 1] == pytest.approx((found["images"] - x).square().mean((1, 2, 3)), rel=1e-3)
    wrong = (similarity(model, found["images"], y) > level) != dodge
    assert wrong.all()
    assert (found["again"] == 1).all()


def test_black_box_leaves_out_what_is_misjudged_when_clean(model, sides):
    x, near, far = sides
    y = torch.cat([near[:3], far[3:]])  # the last three are no genuine pairs
    found = black_box(model, of_kind(x, y, True), Search(60, (60,), middle(model, x, near, far), asks=2))
    assert found["mse"][:, 0].isnan().tolist() == [False] * 3 + [True] * 3
    assert found["again"].isnan().tolist() == [False] * 3 + [True] * 3
    assert torch.equal(found["images"][3:], x[3:])


def test_black_box_repeats_on_a_random_system_and_shows_its_luck():
    x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    search = Search(40, (40,), 0.7, asks=200)
    runs = [black_box(system(Coin(), (8, 8)), of_kind(x, x, False), search, seed=3) for _ in range(2)]
    for key in runs[0]:
        assert torch.equal(runs[0][key].nan_to_num(-1), runs[1][key].nan_to_num(-1))
    again = runs[0]["again"][~runs[0]["again"].isnan()]
    assert 0 < len(again) < 40  # some are accepted by luck when clean
    assert again.mean() == pytest.approx(math.acos(0.7) / math.pi, abs=0.05)  # chance of two random directions


def test_a_patient_attacker_believes_unanimous_answers_alone():
    x = torch.rand(4000, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    towards = torch.tensor([[1.0, 0.0]]).expand(4000, -1)
    torch.manual_seed(0)
    shares = [
        pair_decision(system(Coin(), (8, 8)), towards, False, 0.0, asks)(x).float().mean().item() for asks in (1, 3)
    ]
    assert shares == [pytest.approx(0.5, abs=0.03), pytest.approx(0.125, abs=0.02)]


class Counter(nn.Module):
    """Brightness as a direction, with noise; counts its images."""

    def __init__(self):
        super().__init__()
        self.scale, self.images = nn.Parameter(torch.ones(())), 0

    def forward(self, x):
        self.images += len(x)
        angle = 3 * x.mean((1, 2, 3)) + 0.2 * torch.randn(len(x))
        return self.scale * torch.stack([angle.cos(), angle.sin()], 1)


def test_patience_costs_queries_and_buys_images_that_stand():
    x = 0.2 + 0.05 * torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y, again, asked = torch.full_like(x, 0.8), {}, {}
    for patience in (1, 5):
        body = Counter()
        search = Search(600, (60, 600), 0.5, 40, patience)
        found = black_box(system(body, (8, 8)), of_kind(x, y, False), search)
        again[patience], asked[patience] = found["again"].nanmean(), body.images
        assert found["mse"].shape == (12, 2)
    assert again[5] > again[1] + 0.1
    assert asked[5] <= asked[1]


def test_means_pass_over_what_was_left_out_or_never_broken():
    values = torch.tensor([1.0, 3.0, torch.nan, torch.inf])
    assert face_attacks.mean_of_finite(values).estimate == 2
    assert face_attacks.mean_of_finite(values[2:]) is None
    ratio = face_attacks.geometric_ratio(torch.tensor([8.0, 2.0, torch.nan]), torch.tensor([1.0, 1.0, 1.0]))
    assert ratio.estimate == pytest.approx(4)
    assert ratio.n == 2
    assert face_attacks.geometric_ratio(values[2:], values[2:]) is None


def test_one_each_takes_one_image_of_different_people():
    labels = torch.tensor([4, 4, 7, 9, 7, 9, 2])
    assert face_attacks.one_each(labels, 10).tolist() == [6, 0, 2, 3]
    assert face_attacks.one_each(labels, 2).tolist() == [6, 2]


def test_sticker_raises_the_similarity_of_people_it_never_met(model, sides):
    target = sides[2][:1]
    plain_scores = face_attacks.sticker_scores(model, sides[1], target, None)
    sticker = face_attacks.sticker_for(model, sides[0], target, steps=40, batch=6)
    assert sticker.shape == (1, 1, 20, 72)
    assert (face_attacks.sticker_scores(model, sides[1], target, sticker) > plain_scores).all()
    assert plain_scores == pytest.approx(similarity(model, sides[1], target.expand(6, -1, -1, -1)), abs=1e-5)


def test_transfer_moves_the_scores_the_right_way_within_eps(model, sides):
    x, near, _ = sides
    same = torch.arange(6) < 3
    pairs = ImagePairs(x, near, same)
    images = face_attacks.transfer_images(with_dropout(model, 0.05), pairs, eps="8/255", steps=4)
    change = similarity(model, images, near) - similarity(model, x, near)
    assert (change[same] < 0).all()
    assert ((images - x).abs() <= 8 / 255 + 1e-6).all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert torch.equal(images, face_attacks.transfer_images(with_dropout(model, 0.05), pairs, eps="8/255", steps=4))


def test_another_domain_attacks_the_bare_system_offline_and_the_guarded_one_online(model, sides):
    x, near, far = sides
    x, y, same = torch.cat([x, x]), torch.cat([near, far]), torch.arange(12) < 6
    contest = Contest(Run(), ImagePairs(x, y, same), draws={"PIN": 2})
    scores = face_attacks.cross_domain_scores(contest, model, model, ("FGSM",))
    assert scores["none", "FGSM"].shape == (1, 12)
    assert scores["PIN offline", "FGSM"].shape == scores["PIN online", "clean"].shape == (2, 12)
    for system_name in ("none", "PIN offline", "PIN online"):  # one and the same model: all three agree
        assert scores[system_name, "FGSM"][0] == pytest.approx(scores["none", "FGSM"][0], abs=1e-5)
    assert eer(scores["none", "FGSM"][0], same) >= eer(scores["none", "clean"][0], same)


def test_results_can_be_kept(model, sides, tmp_path):
    pairs, search = of_kind(*sides[:2], True), Search(20, (20,), 0.99)
    found = [cache.kept(black_box, model, pairs, search, folder=tmp_path) for _ in range(2)]
    assert all(torch.equal(found[0][key].nan_to_num(-1), found[1][key].nan_to_num(-1)) for key in found[0])


def test_shares_that_are_all_one_have_an_interval_and_both_kinds_at_once_are_refused(model, sides):
    assert face_attacks.mean_of_finite(torch.ones(8)).low == 1
    assert face_attacks.mean_of_finite(torch.ones(8), top=1.0).low < 0.7
    with pytest.raises(WorkbookError, match="one kind at a time"):
        black_box(model, ImagePairs(sides[0], sides[1], torch.arange(6) < 3), Search(20, (20,)))


def test_the_median_is_told_once_half_have_found_anything():
    inf, nan = torch.inf, torch.nan
    mse = torch.tensor([[inf, 2.0, 1.0], [inf, inf, 3.0], [inf, 4.0, 2.0], [nan, nan, nan]])
    assert face_attacks.median_distortion(mse).isnan().tolist() == [True, False, False]
    assert face_attacks.median_distortion(mse)[1:].tolist() == [4.0, 2.0]
