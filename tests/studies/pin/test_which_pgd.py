import pytest
import torch

from lib.attacks import Intensity, intensity_of
from lib.evaluation import eer
from lib.models import similarity
from lib.studies.pin.pca_tradeoff import climb, exact_scores, pca_systems, reach_intensity
from lib.studies.pin.which_pgd import (
    READINGS,
    Cell,
    Fit,
    Reading,
    climb_scores,
    fit_readings,
    grid_scores,
    printed_cells,
)
from tests.studies.pin.small import Run, fitted_pairs, small_model


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def part():
    return fitted_pairs(260, 60)


@pytest.mark.parametrize("convention", ["[-1,1]", "[0,1]"])
@pytest.mark.parametrize("rule", ["sign", "l2"])
def test_every_reading_reaches_exactly_its_intensity(rule, convention, model, part):
    intensity = Intensity(0.04, convention)
    x = part.images.x
    for images in climb(model, part.images, rule, intensity, [10, 20]):
        moved = reach_intensity(x, images, intensity)
        assert torch.allclose(intensity_of(x, moved, convention), torch.full((10,), 0.04), rtol=1e-3)
        assert 0 <= moved.min() <= moved.max() <= 1


def test_sign_steps_alone_stay_below_the_intensity(model, part):
    found = exact_scores(model, {"none": model}, "PGD", part.images)
    assert found["intensity"]["as stepped"].mean() < 0.0398
    assert torch.allclose(found["intensity"]["exact"], torch.full((10,), 0.04), rtol=1e-3)
    assert not torch.equal(found["exact"]["none"], found["as stepped"]["none"])


def test_a_face_of_black_and_white_reaches_its_intensity_through_the_clamp():
    x = torch.zeros(1, 1, 4, 4)
    x[..., 2:] = 1.0
    moved = (x + torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * 0.1).clamp(0, 1)
    outward = moved + 0.3 * (x - 0.5)  # half of it runs into the border
    reached = reach_intensity(x, outward.clamp(0, 1), Intensity(0.04))
    assert float(intensity_of(x, reached)) == pytest.approx(0.04, rel=1e-3)


def test_one_climb_of_forty_steps_is_ten_steps_on_its_way(model, part):
    intensity = Intensity(0.04)
    early, late = climb(model, part.images, "sign", intensity, [10, 40], seed=3)
    (short,) = climb(model, part.images, "sign", intensity, [10], seed=3)
    assert torch.equal(early, short)
    assert not torch.equal(early, late)


def test_fgsm_is_one_whole_step_from_the_image(model, part):
    (moved,) = climb(model, part.images, "sign", Intensity(0.04), [1])
    x = part.images.x.clone().requires_grad_()
    cosine = (model.embed(x) * model.embed(part.images.y)).sum(1) * torch.where(part.images.same, -1.0, 1.0)
    (gradient,) = torch.autograd.grad(cosine.sum(), x)
    radius = Intensity(0.04).radius(part.images.x).view(-1, 1, 1, 1)
    assert torch.allclose(moved, (part.images.x + radius * gradient.sign()).clamp(0, 1), atol=1e-6)


def test_printed_cells_count_none_once():
    cells = printed_cells(["none", "PCA-200", "PCA-2000"])
    assert len(cells) == 10
    assert sum(cell.system == "none" for cell in cells) == 2
    assert {cell.paper for cell in cells if str(cell) == "PGD, offline PCA-2000"} == {93.45}


def test_grid_holds_what_a_single_climb_gives(model, part, monkeypatch):
    monkeypatch.setattr("lib.studies.pin.which_pgd.printed_cells", lambda names: CELLS)
    scores = grid_scores(Run(), model, part, [20])
    assert scores.shape == (12, 3, 10)
    every = pca_systems(model, part.basis, [20])
    alone = climb_scores(every["PCA-20"], {"PCA-20": every["PCA-20"]}, "l2", "[0,1]", part.images)
    assert torch.equal(scores[READINGS.index(Reading("L2", "[0,1]", 20)), 2], alone["20"]["PCA-20"])
    (moved,) = climb(model, part.images, "sign", Intensity(0.04), [1])
    moved = reach_intensity(part.images.x, moved, Intensity(0.04))
    wanted = similarity(every["PCA-20"], moved, part.images.y)
    assert torch.equal(scores[READINGS.index(Reading("L2", "[-1,1]", 40)), 0], wanted)  # FGSM has no rule and no steps


CELLS = [
    Cell("FGSM", "offline", "PCA-20", 20.0),
    Cell("PGD", "offline", "none", 90.0),
    Cell("PGD", "online", "PCA-20", 60.0),
]


def made_fit(noise=0.0):
    """Ten cells; the reading L2 of [-1,1] with 20 steps lies 1 point from each, all others 10 to 21 points."""
    cells = [Cell("FGSM" if at < 5 else "PGD", "offline", f"PCA-{at}", 50.0) for at in range(10)]
    rates = torch.full((12, 10), 50.0, dtype=torch.float64) + torch.arange(10, 22).double().view(-1, 1)
    rates[READINGS.index(Reading("L2", "[-1,1]", 20))] = 51.0
    draw = torch.Generator().manual_seed(0)
    drawn = rates + noise * torch.randn(400, 12, 10, dtype=torch.float64, generator=draw)
    return Fit(cells, rates, drawn, 30)


def test_the_nearest_reading_is_found_on_every_half():
    fit = made_fit()
    truth = Reading("L2", "[-1,1]", 20)
    assert fit.nearest() == truth
    assert float(fit.distance(truth).estimate) == 1.0
    halves = fit.cross_fit()
    assert len(halves) == 252
    assert {(str(reading), gap) for reading, gap in halves} == {(str(truth), 1.0)}
    assert fit.how_often_nearest()[READINGS.index(truth)] == 1
    assert fit.not_told_apart() == [truth]


def test_what_noise_hides_is_not_told_apart():
    assert len(made_fit(noise=40.0).not_told_apart()) > 6


def test_the_cells_of_one_attack_can_say_otherwise():
    fit = made_fit()
    other = Reading("sign", "[0,1]", 10)
    fit.rates[READINGS.index(other), fit.columns("PGD")] = 50.0
    fit.drawn[:, READINGS.index(other), fit.columns("PGD")] = 50.0
    assert fit.nearest() == Reading("L2", "[-1,1]", 20)
    assert fit.nearest(fit.columns("PGD")) == other
    assert fit.not_told_apart("PGD") == [other]
    assert fit.distance(other, "PGD").n == 30  # pairs, not draws


def test_excess_is_paired_and_signed():
    fit = made_fit(noise=1.0)
    far, near = Reading("sign", "[-1,1]", 10), Reading("L2", "[-1,1]", 20)
    assert fit.excess(far, near).low > 0
    assert fit.excess(near, far).high < 0
    assert fit.span(fit.cells[0]).estimate == 20.0


def test_rates_are_equal_error_rates_in_per_cent():
    draw = torch.Generator().manual_seed(1)
    scores = torch.randn(12, 3, 30, generator=draw)
    same = torch.arange(30) < 15
    left = torch.arange(30)
    people = torch.stack([left, torch.where(same, left, left + 100)], 1)
    fit = fit_readings(scores, same, people, CELLS, resamples=50)
    assert fit.rates[4, 2] == pytest.approx(100 * float(eer(scores[4, 2], same)))
    assert fit.drawn.shape == (50, 12, 3)
