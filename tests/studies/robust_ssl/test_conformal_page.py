"""Measures of page 17: accuracy under each distortion."""

import pytest
import torch
from torch import nn

from lib import cache
from lib.book import run as book
from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.robust_ssl import conformal_page as page
from lib.studies.robust_ssl.probes import ProbeRecipe
from lib.studies.robust_ssl.study import CONFORMAL, bent_views, study_for
from lib.training import loop
from lib.transforms.distortions import DIRECTIONS, SUBSETS, SWEEP, degrees_as_strong, distort, tilt
from tests.studies.robust_ssl.small import pictures


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
    arms = ("", "moebius ", "released ", "short ", "released short ", "standard long ", "released long ")
    for name in ("rates SimCLR", *(f"{arm}SimCLR {seed}" for arm in arms for seed in (0, 1))):
        jobs[name]()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("lib.studies.robust_ssl.training.fit", lambda *given, **more: pytest.fail("a training"))
        found = page.judge_arm(study, "SimCLR", "moebius")
        probed = page.judge_probed_on(study, "SimCLR", "released")
        lengths = page.judge_lengths(study)
    assert found["clean"].shape == probed["black"].shape == (2, 7)
    assert found["sweep"].shape == (2, 7, 1 + len(SWEEP))
    assert found["subsets"].shape == (2, 7, 8)
    assert list(lengths) == [study.scale.steps, study.scale.long_steps]  # at smoke the short training is the plain one
    plain = page.judge_arm(study, "SimCLR", "released")
    assert torch.equal(lengths[study.scale.steps]["released"]["black"], plain["black"])
