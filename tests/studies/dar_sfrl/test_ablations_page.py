import pytest
import torch

from lib import cache
from lib.book import run as book
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.studies.dar_sfrl import ablations_page as page
from lib.studies.dar_sfrl import evaluation
from lib.studies.dar_sfrl.networks import Pixels, Restorer, count_multiply_adds, count_weights
from lib.studies.dar_sfrl.study import removals, study_for


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


class OneFeature(torch.nn.Module):
    """An encoder that gives all faces one feature."""

    def forward(self, x):
        return torch.ones(len(x), 5)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    return study_for(book.start("11_dar_ablations", profile="smoke", device="cpu"))


def test_scores_say_which_images_stay_right_under_each_threat(study):
    bench = page.Bench(study, white=4, names=("PGD", "BIM"))
    scores = bench.scores([study.encoder("raw pixels")] * 2, ("end to end",))
    n = len(bench.test[0])
    assert scores["clean"].shape == scores["transfer / UPGD"].shape == (2, n)
    assert scores["end to end / worst"].shape == (2, 4)
    assert not (scores["end to end / worst"] & ~scores["end to end / BIM"]).any()
    probe = bench.probe(study.encoder("raw pixels"))
    assert torch.equal(scores["clean"][0], probe(bench.test[0]).argmax(1) == bench.test[1])
    moved = bench.transferred["PGD"] - bench.test[0]
    assert 0 < moved.abs().max() <= 8 / 255 + 1e-6
    clean, attacked = bench.features([study.encoder("raw pixels")], "end to end")
    assert clean.shape == attacked.shape == (1, 4, 768)
    clean, attacked = bench.features([study.encoder("raw pixels")], "signs")
    assert clean.shape == attacked.shape == (1, n, 768)
    assert (attacked - clean).abs().max() <= 8 / 255 + 1e-6


def test_a_threat_may_name_its_budget(study):
    bench = page.Bench(study, white=4, names=("PGD",))
    pixels = study.encoder("raw pixels")
    moved = bench.attacked(pixels, "end to end, 1/255")["PGD"] - bench.test[0][:4]
    assert 0.9 / 255 < moved.abs().max() <= 1 / 255 + 1e-6
    scores = bench.scores([pixels], ("end to end, 1/255",))
    assert scores["end to end, 1/255 / worst"].shape == (1, 4)
    found = bench.unsettled([pixels], 4, (1, 2))
    assert found.shape == (1, 4)
    assert found.abs().max() <= 1


def test_what_a_short_restorer_wins_and_how_far_features_spread(study):
    bench = page.Bench(study, white=4)
    restorers = page.restored(study)
    assert bench.gains(restorers).shape == (len(study.scale.seeds), len(bench.held.clean))
    (spread,) = bench.spreads([Pixels()])
    assert page.ASLEEP < spread < 1
    assert bench.spreads([OneFeature()]) == pytest.approx([0.0], abs=1e-6)


def test_drops_are_of_the_same_images():
    clean = torch.rand(2, 40, generator=generator()) < 0.8
    attacked = clean[:, :20] & (torch.rand(2, 20, generator=generator(1)) < 0.5)
    found = page.drop(clean, attacked)
    lost = (clean[:, :20].double().mean() - attacked.double().mean()).item()
    assert found.estimate == pytest.approx(100 * lost)
    assert found.low < 100 * lost < found.high
    nothing = page.drop(torch.ones(2, 30).bool(), torch.ones(2, 30).bool())
    assert nothing.high == pytest.approx(100 * 0.1135, abs=0.01)  # Wilson, none of 30
    assert nothing.low < 0 < nothing.high
    scores = {"clean": clean, "PGD": attacked}
    assert page.between(scores, scores, "PGD").estimate == 0
    other = {"clean": clean, "PGD": clean[:, :20]}
    assert page.between(scores, other, "PGD").estimate == pytest.approx(100 * lost)


def test_gaps_are_means_over_attacks():
    full = {"a": torch.ones(2, 10).bool(), "b": torch.arange(20).view(2, 10) % 2 == 0}
    less = {"a": torch.arange(20).view(2, 10) % 2 == 0, "b": torch.zeros(2, 10).bool()}
    assert page.gap_under(full, less, ["a"]).estimate == pytest.approx(50)
    assert page.gap_under(full, less, ["a", "b"]).estimate == pytest.approx(50)


def test_extreme_drops_are_chosen_in_each_draw():
    clean = torch.ones(1, 400)
    attacked = [(torch.rand(1, 400, generator=generator(seed)) < 0.8).double() for seed in range(7)]
    smallest, largest = page.extreme_drops(clean, attacked, resamples=300)
    drops = [100 * (1 - part.mean().item()) for part in attacked]
    assert (smallest.estimate, largest.estimate) == pytest.approx((min(drops), max(drops)))
    chosen = page.drop(clean, attacked[drops.index(min(drops))])
    assert (smallest.low + smallest.high) / 2 < (chosen.low + chosen.high) / 2  # another may be least in a draw
    nothing, _ = page.extreme_drops(clean, [clean, clean])
    assert nothing.low < 0 < nothing.high


def test_removals_are_counted_along_every_order():
    kept = {("mae", *("orthogonal", "face", "noise")): 90, ("mae",): 50}
    kept |= {losses: 80 if len(losses) == 3 else 60 for losses in removals()}
    clean = {losses: torch.arange(100)[None] < count for losses, count in kept.items()}
    found = page.removal_orders(clean)
    assert len(found) == 6
    assert all([step.estimate for step in steps] == pytest.approx([10, 20, 10]) for steps in found.values())


def test_features_that_ignore_images_overlap_and_tell_nothing():
    features = torch.randn(50, 40, generator=generator()) + torch.arange(40)
    first, second = (page.blind_features(features, 200, seed) for seed in (1, 2))
    assert page.overlap_draws(first[None], second[None], 1)[0] > 0.98
    labels = {name: (torch.rand(300, generator=generator(5)) < 0.3).long() for name in ("learn", "held", "test")}
    right = page.blind_probe(features, labels, (0.1, 1.0))
    assert right.double().mean() < (labels["test"] == 0).double().mean() + 0.02
    one, other = page.halves(torch.arange(7.0).view(1, 7, 1))
    assert (one.flatten().tolist(), other.flatten().tolist()) == ([0, 1, 2], [3, 4, 5])


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_binned_overlap_is_the_one_of_the_study(shift):
    clean = torch.randn(1, 60, 30, generator=generator())
    attacked = 1.2 * torch.randn(1, 60, 30, generator=generator(1)) + shift
    draws = page.overlap_draws(clean, attacked, resamples=200)
    assert draws.shape == (201,)
    assert draws[0].item() == pytest.approx(evaluation.pooled_overlap(clean[0], attacked[0]), abs=0.004)
    found = page.interval_of(draws)
    assert 0 <= found.low <= found.high <= 1
    assert found.high - found.low < 0.1


def test_overlap_of_constants_and_of_other_units():
    constant = torch.full((2, 10, 4), 0.3)
    assert page.overlap_draws(constant, constant.clone(), resamples=20).tolist() == [1.0] * 21
    assert page.overlap_draws(constant, constant + 1, resamples=3).tolist() == [0.0] * 4
    clean = torch.randn(2, 40, 8, generator=generator())
    one, other = (page.overlap_draws(k * clean, k * (clean + 0.5), 30) for k in (1, 1000))
    assert torch.allclose(one, other, atol=0.002)


def test_seeds_are_drawn_in_the_overlap():
    clean = torch.randn(2, 200, 4, generator=generator())
    apart = clean + torch.tensor([0.0, 3.0])[:, None, None]
    found = page.interval_of(page.overlap_draws(clean, apart))
    assert found.high - found.low > 0.5
    assert found.estimate == pytest.approx((1 + evaluation.pooled_overlap(clean[1], apart[1])) / 2, abs=0.01)


def test_the_first_axis_is_the_one_of_the_study():
    clean = torch.randn(1, 100, 8, generator=generator())
    moved = clean + torch.tensor([3.0, -3.0] * 4)
    scores = page.on_first_axis(clean, moved)
    assert scores[0].shape == (1, 100, 1)
    wanted = evaluation.axis_overlap(clean[0], moved[0])
    assert page.overlap_draws(*scores, resamples=1)[0].item() == pytest.approx(wanted, abs=0.01)


def test_groups_by_image_have_the_means_of_the_study():
    labels = torch.arange(90) % 3
    x = 2 * torch.eye(3, 12)[labels] + torch.randn(90, 12, generator=generator())
    found = page.groups(x, labels)
    wanted = evaluation.grouping(x, labels)
    assert found["silhouette"].mean().item() == pytest.approx(wanted["silhouette"], abs=1e-6)
    assert found["kNN"].double().mean().item() == pytest.approx(wanted["kNN"], abs=0.05)
    assert over_seeds(found["silhouette"][None]).estimate == pytest.approx(wanted["silhouette"], abs=1e-6)


def test_pictures_of_points_keep_clear_groups():
    labels = torch.arange(30) % 3
    x = 30 * torch.eye(3, 12)[labels] + torch.randn(30, 12, generator=generator())
    plane = page.embedded(x, "t-SNE")
    assert plane.shape == (30, 2)
    assert page.groups(plane.float(), labels, 3)["kNN"].all()


def test_table_8_has_the_weights_that_are_printed():
    networks = page.table_8_networks(64)
    assert count_weights(networks["RoCL"].encoder) / 1e6 == pytest.approx(11.17, abs=0.01)
    assert count_multiply_adds(page.table_8_networks(32)["RoCL"].encoder, 32) / 1e9 == pytest.approx(0.556, abs=0.002)
    assert count_weights(networks["DAR-SFRL"].encoder) == 26_838
    assert count_multiply_adds(networks["DAR-SFRL"].encoder, 64) / 1e9 == pytest.approx(0.105, abs=0.001)
    assert count_multiply_adds(networks[page.SMALL].encoder, 32) / 1e9 == pytest.approx(0.556, abs=0.002)
    assert page.all_weights(networks["PCL's encoder"]) == 1_893_767
    assert page.all_weights(networks["DAR-SFRL"]) == 26_838 + 7 * 3 * 64**2 + 7


def test_times_are_taken_in_turns():
    small = page.with_probe(Pixels(Restorer(1, channels=2)), 16)
    large = page.with_probe(Pixels(Restorer(4, channels=16)), 16)
    images = torch.rand(4, 3, 16, 16)
    seconds = page.time_in_turns({"small": small, "large": large}, {"small": images, "large": images}, 5)
    assert seconds["small"].shape == (5,)
    found = page.ratio(seconds["large"], seconds["small"])
    assert found.low <= found.estimate <= found.high
    assert found.estimate > 1


def test_leads_and_spreads_are_points():
    values = [torch.arange(20)[None] < count for count in (10, 14, 4)]
    assert page.lead(*values).item() == pytest.approx(-20)
    assert page.lead(values[1], values[0]).item() == pytest.approx(20)
    assert page.spread(*values).item() == pytest.approx(50)
    assert page.least_lead(*values).item() == pytest.approx(-30)
