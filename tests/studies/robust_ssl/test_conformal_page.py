"""Measures of page 17: accuracy under each distortion, and its claims on rights made to hold and to fail."""

import pytest
import torch
from torch import nn

from lib import cache
from lib.book import run as book
from lib.book.ledger import judge
from lib.errors import WorkbookError
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.papers import registered_claim
from lib.seeds import seeded
from lib.studies.robust_ssl import conformal_page as page
from lib.studies.robust_ssl.probes import ProbeRecipe
from lib.studies.robust_ssl.study import CONFORMAL, bent_views, study_for
from lib.training import loop
from lib.transforms.distortions import DIRECTIONS, SUBSETS, SWEEP, degrees_as_strong, distort, tilt
from tests.studies.robust_ssl.small import pictures


def verdict(name, values):
    found = over_seeds(values, resamples=200)
    return judge((found.low, found.high), registered_claim(name))


def probe():
    with seeded(0):
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))


def test_rights_against_one_picture_at_a_time():
    model, images, labels = probe(), pictures(6), torch.arange(6) % 4
    found = page.right_under(model, images, labels)
    for row, label in enumerate(labels.tolist()):
        x = images[row : row + 1].float() / 255

        def right(changed, label=label):
            return float(model(changed).argmax() == label)

        subsets = [right(distort(x, *subset)) for subset in SUBSETS.values()]
        tilts = [right(tilt(x, *subset, degrees_as_strong())) for subset in SUBSETS.values()]
        assert found["clean"][row] == right(x)
        assert found["subsets"][row].tolist() == subsets
        assert found["black"][row] == sum(subsets[:4]) / 4
        assert found["padded"][row] == sum(subsets[4:]) / 4
        assert found["tilted, black"][row] == sum(tilts[:4]) / 4
        assert found["tilted, padded"][row] == sum(tilts[4:]) / 4
        sweep = [sum(right(distort(x, way, "black", size)) for way in DIRECTIONS) / 4 for size in SWEEP]
        assert found["sweep"][row].tolist() == pytest.approx([right(x), *sweep])


def test_batches_do_not_matter():
    model, images, labels = probe(), pictures(510), torch.arange(510) % 4
    whole, part = page.right_under(model, images, labels), page.right_under(model, images[500:], labels[500:])
    assert all(torch.equal(whole[name][500:], part[name]) for name in page.TESTS)


def rights(clean, distorted, tilted=None, n=600, seeds=2):
    """Found of `n` pictures, whose shares are the given ones, a little different from picture to picture."""
    draw = torch.Generator().manual_seed(int(1000 * distorted))

    def share(mean):
        return (mean + 0.02 * torch.randn(seeds, n, generator=draw, dtype=torch.float64)).clamp(0, 1)

    tilted = distorted if tilted is None else tilted
    halves = {"black": distorted, "padded": distorted, "tilted, black": tilted, "tilted, padded": tilted}
    return {"clean": share(clean)} | {name: share(mean) for name, mean in halves.items()}


def judged(standard, moebius, **others):
    found = {"standard": standard, "moebius": moebius} | others
    return {(method, name): rights for method in ("SimCLR", "DINO") for name, rights in found.items()}


def test_means_are_in_points_and_over_methods():
    base = judged(rights(0.6, 0.3, 0.4), rights(0.6, 0.5, 0.45))
    assert page.clean(base["SimCLR", "standard"]).mean().item() == pytest.approx(60, abs=0.5)
    assert page.distorted(base["SimCLR", "standard"]).mean().item() == pytest.approx(30, abs=0.5)
    assert page.tilted(base["SimCLR", "standard"]).mean().item() == pytest.approx(40, abs=0.5)
    base["DINO", "moebius"] = rights(0.6, 0.4)
    assert page.mean_gap(base, "moebius", "standard").mean().item() == pytest.approx(15, abs=0.5)
    base["SimCLR", "released"] = rights(0.6, 0.55, seeds=1)
    assert page.mean_gap(base, "released", "moebius").shape == (1, 600)
    del base["DINO", "moebius"]
    assert page.mean_gap(base, "moebius", "standard").mean().item() == pytest.approx(20, abs=0.5)
    with pytest.raises(WorkbookError, match="judge one first"):
        page.mean_gap(base, "log", "standard")


STANDARD = rights(0.6, 0.3, 0.31)


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("robust_ssl-3", rights(0.6, 0.45), rights(0.6, 0.35)),
        ("robust_ssl-3b", rights(0.6, 0.45), rights(0.5, 0.45)),
    ],
)
def test_moebius_views_can_replicate_and_not(name, holds, fails):
    read = page.clean if name.endswith("b") else page.distorted
    less = 0 if name.endswith("b") else 10
    outcomes = [
        verdict(name, page.mean_gap(judged(STANDARD, x), "moebius", "standard", read) - less) for x in (holds, fails)
    ]
    assert outcomes == ["replicated", "not replicated"]


@pytest.mark.parametrize(
    ("name", "other", "words"),
    [
        ("robust_ssl-4", "log", ["replicated", "not replicated"]),
        ("robust_ssl-c3", "homography", ["supported", "refuted"]),
        ("robust_ssl-c4", "affine", ["supported", "refuted"]),
    ],
)
def test_other_views_serve_as_well_or_do_not(name, other, words):
    moebius = rights(0.6, 0.5)
    both = [judged(STANDARD, moebius, **{other: rights(0.6, share)}) for share in (0.501, 0.44)]
    assert [verdict(name, page.mean_gap(found, "moebius", other)) for found in both] == words


def test_a_gain_that_carries_over_refutes_the_critique_of_the_benchmark():
    own, both = (judged(STANDARD, rights(0.6, 0.5, tilted)) for tilted in (0.33, 0.56))
    assert verdict("robust_ssl-c5", page.less_under_tilt(own)) == "supported"
    assert verdict("robust_ssl-c5", page.less_under_tilt(both)) == "refuted"


def test_a_probe_alone_can_bring_the_gain_or_not():
    views = rights(0.6, 0.5)
    found = page.by_probe_alone(rights(0.6, 0.45), STANDARD, views)
    assert found.mean().item() == pytest.approx(15 - 10, abs=0.5)
    assert verdict("robust_ssl-c17b", found) == "supported"
    assert verdict("robust_ssl-c17b", page.by_probe_alone(rights(0.6, 0.32), STANDARD, views)) == "refuted"


def test_distortion_that_costs_nothing_fails_the_check():
    def lost(found):
        return page.clean(found) - page.distorted(found)

    assert verdict("ours-17d", lost(STANDARD)) == "passed"
    assert verdict("ours-17d", lost(rights(0.3, 0.6))) == "failed"


def test_arms_are_named():
    assert page.arms_of("SimCLR") == tuple(page.ARMS)
    assert page.arms_of("DINO") == ("standard", "moebius", "log")
    assert page.views_named("log") == CONFORMAL["log"]
    assert page.views_named("log", "DINO") == bent_views("log", "DINO") != CONFORMAL["log"]
    with pytest.raises(WorkbookError, match="standard, moebius, log"):
        page.views_named("fisheye")


def test_a_fifth_of_the_probes_pictures_is_distorted():
    x = pictures(400).float() / 255
    moved = (page.PROBED_ON(x, torch.Generator().manual_seed(0)) - x).abs().amax((1, 2, 3)) > 1e-3
    assert moved.float().mean().item() == pytest.approx(0.2, abs=0.06)


def test_a_probe_on_distorted_pictures_is_fitted_on_views_of_the_learnt_part_alone():
    images = {name: pictures(40, seed) for seed, name in enumerate(("learn", "held"))}
    labels = {name: torch.arange(40) % 3 for name in images}
    encoder = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
    fitted = page.fit_on_distorted(encoder, images, labels, ProbeRecipe(steps=5), "cpu")
    assert fitted["weight"].shape == (3, 12)
    plain = images["learn"].float().div(255)
    assert not torch.allclose(fitted["mean"], encoder(plain).mean(0))  # some of them have a black rim


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    knob = dict.fromkeys(("smoke", "laptop", "gpu", "paper"), 7)
    return study_for(book.start("17_conformal_views", profile="smoke", device="cpu"), distorted=knob)


def test_arms_are_judged_from_trainings_of_the_plan_alone(study):
    """What the page reads is kept by the plan's jobs: after them nothing is trained any more."""
    jobs = study.plan()
    for name in ("rates SimCLR", "SimCLR 0", "SimCLR 1", "moebius SimCLR 0", "moebius SimCLR 1"):
        jobs[name]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lib.studies.robust_ssl.training.fit", lambda *given, **more: pytest.fail("a training"))
        found = page.judge_arm(study, "SimCLR", "moebius")
        probed = page.judge_probed_on(study, "SimCLR")
    assert found["clean"].shape == probed["black"].shape == (2, 7)
    assert found["sweep"].shape == (2, 7, 1 + len(SWEEP))
    assert found["subsets"].shape == (2, 7, 8)
