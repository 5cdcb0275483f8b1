"""Every exercise: its solution passes, its stub and two planted errors do not; and nothing of it stops a page."""

import random
import runpy
import time

import numpy as np
import pytest
import torch

from lib.book.exercises import check, exercise, exercises, predict, reveal, session, starter_cells
from lib.errors import WorkbookError
from lib.interval import Interval
from lib.paths import NOTEBOOKS

ALL = [entry for page in session.PAGES for entry in exercises(page)]
CODED = [entry for entry in ALL if entry.kind == "code"]


def solution(entry):
    return runpy.run_path(str(NOTEBOOKS / "solutions" / f"{entry.page}.py"))[name_of(entry)]


def name_of(entry):
    return entry.starter.split("def ")[1].split("(")[0]


def stub(entry):
    names = {"check": lambda *_: None}
    exec(entry.starter, names)
    return names[name_of(entry)]


def swapped_rates(scores, same, threshold):
    accepted = scores >= threshold
    return (~accepted[same]).float().mean(), accepted[~same].float().mean()


def rates_over_all(scores, same, threshold):
    accepted = scores >= threshold
    return (accepted & ~same).float().mean(), (~accepted & same).float().mean()


def strict_rates(scores, same, threshold):
    accepted = scores > threshold
    return accepted[~same].float().mean(), (~accepted[same]).float().mean()


def eer_in_per_cent(scores, same):
    return 100 * solution(exercise("00-2"))(scores, same)


def eer_up_to_a_half(scores, same):
    return min(solution(exercise("00-2"))(scores, same), 0.5)


def noise_scaled_before_masking(x, mask, intensity):
    noise = torch.randn_like(x)
    scale = intensity * x.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return noise * scale.view(-1, 1, 1, 1) * mask


def noise_of_one_norm(x, mask, intensity):
    noise = torch.randn_like(x) * mask
    return noise * intensity * x.norm() / noise.norm()


def uniform_noise(x, mask, intensity):
    noise = torch.rand_like(x) * mask
    scale = intensity * x.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return noise * scale.view(-1, 1, 1, 1)


def share_of_norm(gradient, mask):
    return (gradient * mask).flatten(1).norm(dim=1) / gradient.flatten(1).norm(dim=1)


def share_of_the_batch(gradient, mask):
    energy = gradient.square()
    return (energy * mask).flatten(1).sum(1) / energy.sum()


def project_without_mean(x, basis, mean, k):
    return (x.flatten(1) @ basis[:, :k] @ basis[:, :k].T).view_as(x)


def project_on_all(x, basis, mean, k):
    return ((x.flatten(1) - mean) @ basis @ basis.T + mean).view_as(x)


def project_on_the_last(x, basis, mean, k):
    return ((x.flatten(1) - mean) @ basis[:, -k:] @ basis[:, -k:].T + mean).view_as(x)


def offline_step(embed, defend, x, y, size):
    moved = x.clone().requires_grad_()
    gradient = torch.autograd.grad((embed(moved) * embed(defend(y))).sum(), moved)[0]
    return (x - size * gradient.sign()).clamp(0, 1)


def step_up(embed, defend, x, y, size):
    moved = x.clone().requires_grad_()
    gradient = torch.autograd.grad((embed(defend(moved)) * embed(defend(y))).sum(), moved)[0]
    return (x + size * gradient.sign()).clamp(0, 1)


def step_out_of_the_image(embed, defend, x, y, size):
    moved = x.clone().requires_grad_()
    gradient = torch.autograd.grad((embed(defend(moved)) * embed(defend(y))).sum(), moved)[0]
    return x - size * gradient.sign()


def walk_up(face, attacked, degrade, transposed, alpha):
    return face + alpha * transposed(degrade(face) - attacked)


def walk_without_transpose(face, attacked, degrade, transposed, alpha):
    return face - alpha * (degrade(face) - attacked)


def mix_of_perpendicular(qa, qb, ab, qq, aa, bb, share):
    square = share**2 * aa + (1 - share) ** 2 * bb
    return (share * qa + (1 - share) * qb) / (square * qq).sqrt()


def mean_of_cosines(qa, qb, ab, qq, aa, bb, share):
    return share * qa / (qq * aa).sqrt() + (1 - share) * qb / (qq * bb).sqrt()


def gradient_not_scaled(x, clean, gradient, momentum, size, eps):
    return x, momentum + gradient


def step_along_the_gradient(x, clean, gradient, momentum, size, eps):
    momentum = momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
    return (clean + (x + size * gradient.sign() - clean).clamp(-eps, eps)).clamp(0, 1), momentum


def step_out_of_the_ball(x, clean, gradient, momentum, size, eps):
    momentum = momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
    return (x + size * momentum.sign()).clamp(0, 1), momentum


def lowest_of_one_attack(clean, attacked):
    return attacked.double().mean(1).min()


def worst_without_clean(clean, attacked):
    return attacked.all(0).double().mean()


def worst_among_the_right(clean, attacked):
    return attacked.all(0)[clean].double().mean()


def own_vote(points, labels, k):
    near = torch.cdist(points, points).argsort(dim=1)[:, :k]
    return (labels[near].mode(1).values == labels).double().mean().item()


def left_out_in_per_cent(points, labels, k):
    return 100 * solution(exercise("11-1"))(points, labels, k)


def one_neighbour_more(points, labels, k):
    return solution(exercise("11-1"))(points, labels, k + 1)


def images_drawn_alone(values, trainings, images):
    return values.mean(0)[images].mean(1)


def trainings_drawn_alone(values, trainings, images):
    return values.mean(1)[trainings].mean(1)


def spread_of_raw(features):
    return features.std(0).mean() * features.shape[1] ** 0.5


def spread_unscaled(features):
    return torch.nn.functional.normalize(features, dim=1).std(0).mean()


def spread_within(features):
    return torch.nn.functional.normalize(features, dim=1).std(1).mean() * features.shape[1] ** 0.5


def rows_only(scores, eps, rounds):
    return (scores / eps).softmax(1)


def columns_last(scores, eps, rounds):
    table = (scores / eps).exp()
    for _ in range(rounds):
        table = table / table.sum(1, keepdim=True)
        table = table / table.sum(0)
    return table


def one_round(scores, eps, rounds):
    table = (scores / eps).softmax(0)
    return table / table.sum(1, keepdim=True)


def contrast_of_the_batch(x, factor):
    mean = x.mean((0, 2, 3), keepdim=True)
    return (mean + factor * (x - mean)).clamp(0, 1)


def contrast_to_gray(x, factor):
    mean = x.mean((1, 2, 3), keepdim=True)
    return (mean + factor * (x - mean)).clamp(0, 1)


def contrast_unbounded(x, factor):
    mean = x.mean((2, 3), keepdim=True)
    return mean + factor * (x - mean)


def clean_subtracted_once(errors, clean, reference, reference_clean):
    return ((errors.sum(1) - clean) / (reference.sum(1) - reference_clean)).mean()


def one_clean_error(errors, clean, reference, reference_clean):
    return ((errors - clean).sum(1) / (reference - clean).sum(1)).mean()


def ratio_of_sums(errors, clean, reference, reference_clean):
    return (errors - clean).sum() / (reference - reference_clean).sum()


def read_once_more(w, c, d):
    return w / (c * w + d)


def undo_with_the_same_sign(w, c, d):
    return d * w / (1 + c * w)


def undo_without_d(w, c, d):
    return w / (1 - c * w)


def map_first_crop_later(c, s, t):
    return s + t * c, t, c, 1


def crop_above_only(c, s, t):
    return s, t, c * s, 1


def crop_without_map(c, s, t):
    return s, t, 0, 1


def summed_positives(rows, views, tau):
    return solution(exercise("18-1"))(rows, views, tau) * (views - 1)


def own_row_kept(rows, views, tau):
    picture = torch.arange(len(rows) // views).repeat(views)
    positive = (picture[:, None] == picture).fill_diagonal_(False)
    return -(rows @ rows.T / tau).log_softmax(1)[positive].mean()


def neighbours_as_views(rows, views, tau):
    order = torch.arange(len(rows)).view(-1, views).T.flatten()
    return solution(exercise("18-1"))(rows[order], views, tau)


def one_pass_a_step(views, steps):
    return solution(exercise("18-2"))(views, steps) - views * steps


def three_passes_a_step(views, steps):
    return solution(exercise("18-2"))(views, steps) + views * steps


def clean_alone(views, steps):
    return views * (2 * steps + 3)


def credit_without_baseline(logits, actions, rewards):
    return rewards[:, None] * (torch.nn.functional.one_hot(actions, logits.shape[1]) - logits.softmax(1))


def credit_of_the_batch(logits, actions, rewards):
    return credit_without_baseline(logits, actions, rewards.mean().expand(len(rewards)))


def credit_turned_round(logits, actions, rewards):
    return -solution(exercise("19-1"))(logits, actions, rewards)


def passes_forward_alone(steps):
    return 2 * steps.sum() + (steps < steps.max()).sum(), steps.max() * len(steps)


def passes_without_the_last_embedding(steps):
    return 2 * steps.sum(), 2 * steps.max() * len(steps)


PLANTED = {  # id -> wrong answers, each with a word of the hint that names what is wrong
    "00-1": [(swapped_rates, "swapped"), (rates_over_all, "all pairs"), (strict_rates, ">=")],
    "00-2": [(eer_in_per_cent, "per cent"), (eer_up_to_a_half, "one half")],
    "01-1": [
        (noise_scaled_before_masking, "after masking"),
        (noise_of_one_norm, "norm of its own"),
        (uniform_noise, "randn"),
    ],
    "01-2": [(share_of_norm, "norm squared"), (share_of_the_batch, "total of its own")],
    "02-1": [
        (project_without_mean, "mean is missing"),
        (project_on_all, "first k columns"),
        (project_on_the_last, "not the last"),
    ],
    "09-1": [(walk_up, "against"), (walk_without_transpose, "transposed network")],
    "09-2": [(mix_of_perpendicular, "third term"), (mean_of_cosines, "normalise")],
    "02-2": [(offline_step, "offline"), (step_up, "lowers"), (step_out_of_the_image, "clamp")],
    "10-1": [
        (gradient_not_scaled, "mean absolute value"),
        (step_along_the_gradient, "sign of the momentum"),
        (step_out_of_the_ball, "leave the ball"),
    ],
    "10-2": [
        (lowest_of_one_attack, "image by image"),
        (worst_without_clean, "wrong when clean"),
        (worst_among_the_right, "divide by all"),
    ],
    "15-1": [(spread_of_raw, "unit length"), (spread_unscaled, "even sphere"), (spread_within, "over the pictures")],
    "15-2": [(rows_only, "columns"), (columns_last, "end with the rows"), (one_round, "repeat")],
    "16-1": [(contrast_of_the_batch, "batch"), (contrast_to_gray, "channel"), (contrast_unbounded, "within")],
    "16-2": [(clean_subtracted_once, "five times"), (one_clean_error, "its own"), (ratio_of_sums, "ratios")],
    "17-1": [
        (read_once_more, "once more"),
        (undo_with_the_same_sign, "other sign"),
        (undo_without_d, "multiplies w"),
    ],
    "17-2": [
        (map_first_crop_later, "other way round"),
        (crop_above_only, "1 + c t"),
        (crop_without_map, "where is c"),
    ],
    "18-1": [(summed_positives, "mean of both"), (own_row_kept, "itself"), (neighbours_as_views, "neighbours")],
    "18-2": [(one_pass_a_step, "costs two"), (three_passes_a_step, "one pass more"), (clean_alone, "learnt from, too")],
    "19-1": [
        (credit_without_baseline, "baseline"),
        (credit_of_the_batch, "one reward for all"),
        (credit_turned_round, "sign"),
    ],
    "19-2": [(passes_forward_alone, "twice"), (passes_without_the_last_embedding, "one more pass forward")],
    "11-1": [(own_vote, "for itself"), (left_out_in_per_cent, "per cent"), (one_neighbour_more, "not k + 1")],
    "11-2": [(images_drawn_alone, "trainings"), (trainings_drawn_alone, "images")],
}


@pytest.fixture(autouse=True)
def fresh_session():
    session.outcomes.clear()
    session.predictions.clear()


@pytest.mark.parametrize("entry", CODED, ids=lambda entry: entry.id)
def test_the_solution_passes_in_time(entry, capsys):
    start = time.monotonic()
    check(entry.id, solution(entry))
    assert time.monotonic() - start < 2
    assert capsys.readouterr().out == f"✓ {entry.id} right\n"


@pytest.mark.parametrize("entry", CODED, ids=lambda entry: entry.id)
def test_the_stub_is_not_attempted(entry, capsys):
    check(entry.id, stub(entry))
    assert capsys.readouterr().out == f"○ {entry.id} not attempted\n"


@pytest.mark.parametrize("entry", CODED, ids=lambda entry: entry.id)
def test_planted_errors_are_caught_by_name(entry, capsys):
    assert len(PLANTED[entry.id]) >= 2
    for wrong, word in PLANTED[entry.id]:
        check(entry.id, wrong)
        said = capsys.readouterr().out
        assert said.startswith(f"✗ {entry.id} wrong: ")
        assert word in said, wrong.__name__


@pytest.mark.parametrize("page", session.PAGES)
def test_a_page_has_one_prediction_two_coded_and_one_open(page):
    assert sorted(entry.kind for entry in exercises(page)) == ["code", "code", "open", "predict"]
    assert len({entry.id for entry in exercises(page)}) == 4


def test_an_answer_that_breaks_is_said_and_leaves_no_trace(capsys):
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]
    check("02-1", lambda *_: 1 / 0)
    check("01-1", solution(exercise("01-1")))
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert states == [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]


def test_predictions_come_first_and_are_compared(capsys):
    predict("02-p", None)
    reveal("02-p", 67.5)
    predict("02-p", "many")
    predict("02-p", 40)
    reveal("02-p", Interval(67.5, 61.3, 72.8))
    predict("02-p", 70)
    reveal("02-p", Interval(67.5, 61.3, 72.8))
    lines = capsys.readouterr().out.splitlines()
    assert "no prediction yet" in lines[0]
    assert lines[1] == "02-p measured: 67.5. You made no prediction."
    assert "is a number" in lines[2]
    assert lines[4] == "02-p measured: 67.5 [61.3, 72.8]. You predicted 40, 27.5 off."
    assert lines[6].endswith("You predicted 70, inside the interval.")


def test_unknown_exercises_are_errors():
    with pytest.raises(WorkbookError, match="page 02 has 02-p, 02-1"):
        check("02-9", print)
    with pytest.raises(WorkbookError, match="page 99 has none"):
        check("99-1", print)
    with pytest.raises(WorkbookError, match="discuss it"):
        check("02-3", print)


@pytest.mark.parametrize("page", session.PAGES)
def test_starter_cells_run_as_they_are(page, capsys):
    cells = [cell for cell in starter_cells(page) if cell.cell_type == "code"]
    assert all(cell.metadata.tags == ["exercise"] for cell in cells)
    assert cells[1].source.startswith(f"# Exercise {page}-1 · ")
    names = {"check": check, "predict": predict}
    for cell in cells:
        exec(cell.source, names)
    assert capsys.readouterr().out.count("○") == 3
