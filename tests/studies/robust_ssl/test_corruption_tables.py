"""Drawn errors against a slow bootstrap, and every claim of page 16 where it holds and where it fails."""

import pytest
import torch

from lib.book.ledger import judge
from lib.errors import WorkbookError
from lib.evaluation.corruption_error import relative_mean_corruption_error
from lib.interval import Interval
from lib.papers import registered_claim
from lib.studies.robust_ssl import corruption_tables as tables
from lib.studies.robust_ssl import corruptions_page as page
from lib.studies.robust_ssl.corrupted_accuracy import NETWORKS, SEVERITIES, Rights
from lib.studies.robust_ssl.corrupted_faces import eer_slope
from lib.studies.robust_ssl.families import METHODS
from lib.transforms.distortions import SUBSETS, SWEEP

DRAWS = 60


def drawn(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def made(under, clean, conditions=page.ALL, strengths=SEVERITIES, noise=0.3):
    """Errors around clean (networks,) and under (networks, C, V), in points, with a little noise in each draw."""
    wobble = noise * (drawn(DRAWS + 1, len(NETWORKS)) - 0.5)
    wobble[0] = 0
    table = under + wobble[:, :, None, None] + noise * (drawn(DRAWS + 1, *under.shape, seed=1) - 0.5)
    return tables.Errors(NETWORKS, conditions, strengths, clean + wobble, table, 100)


def graded(step=2.0, first=20.0):
    """Every network at `first` clean and `step` worse with each severity, the nineteen corruptions apart a little."""
    rows = first + step * torch.tensor([1.0, 2, 3, 4, 5]) + torch.linspace(0, 8, 19)[:, None]
    return rows.expand(len(NETWORKS), 19, 5).clone(), torch.full((len(NETWORKS),), first)


def verdict(name, errors, values):
    interval = errors.interval(values)
    return judge((interval.low, interval.high), registered_claim(name))


def families(errors):
    return errors.of(*METHODS)


def test_drawn_errors_are_a_slow_bootstraps():
    rights = Rights(("a", "b"), ("fog",), (1, 2), drawn(2, 2, 6) < 0.5, drawn(2, 2, 1, 2, 6, seed=1) < 0.5)
    found = tables.drawn_errors(rights, resamples=5, seed=3)
    draw = torch.Generator().manual_seed(3)
    trainings, images = (torch.randint(n, (5, n), generator=draw) for n in (2, 6))
    assert found.clean[0].tolist() == pytest.approx((100 * (1 - rights.clean.double().mean((1, 2)))).tolist(), abs=1e-4)
    for row in range(5):
        for network in range(2):
            for at in range(2):
                values = [rights.under[network, s, 0, at, i].item() for s in trainings[row] for i in images[row]]
                wanted = 100 * (1 - sum(values) / len(values))
                assert found.under[1 + row, network, 0, at].item() == pytest.approx(wanted, abs=1e-4)


def test_an_interval_holds_its_estimate_and_skips_empty_draws():
    values = torch.tensor([9.0, 1, 2, 3, torch.nan])
    found = tables.interval_of(values, 7)
    assert (found.estimate, found.high, found.n) == (9, 9, 7)
    with pytest.raises(WorkbookError, match="No draw"):
        tables.interval_of(torch.tensor([1.0, torch.nan, torch.nan]), 7)


def test_slopes_are_least_squares():
    found = tables.slopes(torch.tensor([[1.0, 2, 4], [5, 5, 5]]), (0.0, 0.1, 0.2))
    assert found.tolist() == pytest.approx([15.0, 0.0], abs=1e-4)


def test_steady_loss_holds_and_fails():
    worse = made(*graded())
    assert verdict("robust_ssl-1", worse, tables.largest_slope(families(worse))) == "replicated"
    assert verdict("ours-16f", worse, tables.smallest_step(families(worse))) == "passed"
    under, clean = graded()
    under[2] = under[2].flip(1)  # one family that gets better
    better = made(under, clean)
    assert verdict("robust_ssl-1", better, tables.largest_slope(families(better))) == "not replicated"
    under, clean = graded()
    under[3, :, 4] = under[3, :, 3] - 1  # one step of one family
    uneven = made(under, clean)
    assert verdict("robust_ssl-1", uneven, tables.largest_slope(families(uneven))) == "replicated"
    assert verdict("ours-16f", uneven, tables.smallest_step(families(uneven))) == "failed"


def distorted(change=None):
    under = 20 + 100 * torch.tensor(SWEEP).expand(len(NETWORKS), 8, 5).clone()
    if change is not None:
        under[change] = 20 - 10 * torch.tensor(SWEEP)
    return made(under, torch.full((len(NETWORKS),), 20.0), tuple(SUBSETS), SWEEP)


def test_one_subset_without_loss_decides():
    errors = families(distorted())
    assert tables.largest_slope_anywhere(errors)[0].item() == pytest.approx(-10, abs=0.5)
    assert verdict("robust_ssl-1b", errors, tables.largest_slope_anywhere(errors)) == "replicated"
    errors = families(distorted((4, 6)))
    assert verdict("robust_ssl-1b", errors, tables.largest_slope_anywhere(errors)) == "not replicated"


def test_sides_alike_and_apart():
    errors = distorted()
    assert verdict("ours-16e", errors, page.left_less_right(errors)) == "passed"
    errors.under[:, :, list(SUBSETS).index("left, black")] += 10
    assert page.left_less_right(errors)[0].item() == pytest.approx(-5, abs=0.3)
    assert verdict("ours-16e", errors, page.left_less_right(errors)) == "failed"


def test_relative_errors_are_those_of_single_tables():
    under, clean = graded()
    under[1] += 3 * drawn(19, 5)
    errors = made(under, clean)
    reference = errors.of("supervised")
    formula = tables.formula_relative(errors, reference)
    for row, network in ((0, 1), (7, 3)):
        table, base = errors.under[row, network], errors.clean[row, network].item()
        wanted = relative_mean_corruption_error(table, base, reference.under[row, 0], reference.clean[row, 0].item())
        assert formula[row, network].item() == pytest.approx(wanted, rel=1e-4)
        for times in (1, 5):
            wanted = (table.sum(1) - times * base).mean().item() / 5
            assert tables.subtracted(errors, times)[row, network].item() == pytest.approx(wanted, rel=1e-4)


def test_the_share_kept_counts_from_chance():
    errors = made(torch.full((len(NETWORKS), 19, 5), 60.0), torch.full((len(NETWORKS),), 30.0), noise=0.0)
    assert tables.share_kept(errors, 10)[0].tolist() == pytest.approx([50.0] * len(NETWORKS))
    nothing = made(torch.full((len(NETWORKS), 19, 5), 95.0), torch.full((len(NETWORKS),), 90.0), noise=0.0)
    assert tables.share_kept(nothing, 10).isnan().all()
    assert page.printed_kept("supervised") == pytest.approx(100 * (99.9 - 53.679) / (99.9 - 23.87), abs=0.01)
    assert page.printed_relative("SimCLR") == pytest.approx(1.503, abs=0.001)


def test_a_rate_at_the_end_has_a_width():
    errors = made(*graded())
    found = errors.rate(torch.full((DRAWS + 1,), 99.999995))
    assert (found.estimate, found.high, found.n) == (100, 100, 100)
    assert found.low < 97
    values = torch.linspace(40, 60, DRAWS + 1)
    assert errors.rate(values).low == pytest.approx(errors.interval(values).low)


def test_a_corruption_that_costs_the_reference_nothing_is_left_out():
    under, clean = graded()
    at = NETWORKS.index("supervised")
    under[at, 3] = clean[at] + 0.5
    reference = made(under, clean, noise=0.0).of("supervised")
    assert page.ALL[3] not in tables.hard_ones(reference)
    assert len(tables.hard_ones(reference)) == 18
    rest = made(under, clean, noise=0.0).of("BYOL")
    kept = [place for place in range(19) if place != 3]
    wanted = relative_mean_corruption_error(
        rest.under[0, 0, kept], clean[1].item(), reference.under[0, 0, kept], clean[at].item()
    )
    assert tables.formula_relative(rest, reference)[0, 0].item() == pytest.approx(wanted, rel=1e-4)
    some = rest.only(*tables.hard_ones(reference))
    assert torch.equal(tables.formula_relative(some, reference), tables.formula_relative(rest, reference))
    with pytest.raises(WorkbookError, match="a reference that learnt"):
        tables.hard_ones(made(under * 0 + 20, clean).of("supervised"))


def test_one_subtraction_ranks_alike_or_otherwise():
    under, clean = graded()
    under += torch.arange(len(NETWORKS)).float()[:, None, None] * 2  # by what corruption adds, clean errors alike
    errors = made(under, clean)
    assert verdict("robust_ssl-c1", errors, page.metrics_agree(errors)) == "refuted"
    under, clean = graded()
    order = torch.arange(len(NETWORKS)).float()  # who starts worse ends worse, but loses less
    errors = made(under + order[:, None, None], clean + 1.3 * order)
    assert verdict("robust_ssl-c1", errors, page.metrics_agree(errors)) == "supported"


def test_supervised_keeps_more_or_no_more():
    under, clean = graded()
    at = NETWORKS.index("supervised")
    under[at], clean[at] = under[at] - 10, clean[at] - 10  # ahead, corrupted or not, by as much
    errors = made(under, clean)
    assert verdict("robust_ssl-c2", errors, page.against_supervised(errors, 10)) == "refuted"
    under, clean = graded()
    clean[at] -= 10
    errors = made(under, clean)
    assert verdict("robust_ssl-c2", errors, page.against_supervised(errors, 10)) == "supported"


def test_the_untrained_encoder_wins_by_the_formula_or_does_not():
    under, clean = graded()
    at = NETWORKS.index("untrained")
    clean[at] = 80
    under[at] = 80 + 0.3 * (under[at] - 20)
    errors = made(under, clean)
    assert verdict("robust_ssl-c16a", errors, page.untrained_by_formula(errors)) == "supported"
    assert tables.share_kept(errors, 10)[0, at] < tables.share_kept(errors, 10)[0, :8].min()
    under[at] += 10
    errors = made(under, clean)
    assert verdict("robust_ssl-c16a", errors, page.untrained_by_formula(errors)) == "refuted"


def test_a_missing_normalisation_costs_or_does_not():
    errors = made(*graded())
    under, clean = graded()
    bare = made(under + 20, clean + 20).of(*METHODS)
    assert page.unnormalised_cost(errors, bare)[0].item() == pytest.approx(20, abs=0.3)
    assert verdict("robust_ssl-c16b", errors, page.unnormalised_cost(errors, bare)) == "supported"
    alike = made(under + 1, clean).of(*METHODS)
    assert verdict("robust_ssl-c16b", errors, page.unnormalised_cost(errors, alike)) == "refuted"


def printed_order(sign=1.0):
    """Our errors in the order of the printed ones, or in the opposite."""
    under, clean = graded()
    theirs = page.printed_errors(*(page.PRINTED_AS[name] for name in page.SHARED))
    for row, name in enumerate(page.SHARED):
        under[NETWORKS.index(name)] = (50 + sign * (theirs[row] - 50))[:, None].float()
    return made(under, clean, noise=0.01)


def test_orders_as_printed_and_turned_round():
    alike, opposite = printed_order(), printed_order(-1.0)
    assert page.corruptions_alike(alike)[0].item() == pytest.approx(1, abs=0.01)
    assert verdict("ours-16", alike, page.corruptions_alike(alike)) == "passed"
    assert verdict("ours-16", opposite, page.corruptions_alike(opposite)) == "failed"
    assert page.families_alike(alike)[0].item() == pytest.approx(1, abs=0.1)
    assert verdict("ours-16b", alike, page.families_alike(alike)) == "passed"
    assert verdict("ours-16b", opposite, page.families_alike(opposite)) == "failed"


def test_saturation_graded_and_not():
    errors = made(*graded())
    assert verdict("robust_ssl-c8", errors, page.saturation_ungraded(errors)) == "refuted"
    under, clean = graded()
    under[:, page.ALL.index("saturate"), 2] -= 6
    errors = made(under, clean)
    assert page.saturation_ungraded(errors)[0].item() == pytest.approx(4, abs=0.3)
    assert verdict("robust_ssl-c8", errors, page.saturation_ungraded(errors)) == "supported"
    assert page.ungraded(errors) == ["saturate"]
    assert page.ungraded(made(*graded())) == []


def rates(order):
    """EER (draws, 19, 3) that rises with severity, the corruptions in that order."""
    return 2 + order[:, None] + torch.tensor([0.0, 1, 2]) + 0.01 * drawn(DRAWS + 1, 19, 3)


def test_faces_follow_objects_or_do_not():
    errors = made(*graded())
    alike = rates(torch.linspace(0, 8, 19))
    assert verdict("robust_ssl-c9", errors, page.faces_as_objects(errors, alike[..., 2])) == "refuted"
    opposite = rates(torch.linspace(8, 0, 19))
    assert verdict("robust_ssl-c9", errors, page.faces_as_objects(errors, opposite[..., 2])) == "supported"
    assert verdict("ours-16d", errors, eer_slope(alike, (1, 3, 5))) == "passed"
    assert verdict("ours-16d", errors, eer_slope(alike.flip(2), (1, 3, 5))) == "failed"


def test_the_slips_give_the_files_numbers_and_the_formula_does_not():
    metric = page.released_metric()
    gap = page.slips_gap(metric)
    assert judge((0.0, gap), registered_claim("ours-16c")) == "passed"
    metric["relative, written anew"] = metric["relative, written anew"] + 1
    assert judge((0.9, page.slips_gap(metric)), registered_claim("ours-16c")) == "failed"
    supervised = metric.set_index("network").loc["supervised"]
    assert supervised["relative mCE"] == pytest.approx(1)
    assert len(metric) == 8


def test_the_grid_is_small_and_starts_clean():
    errors = made(*graded())
    both = (torch.full((DRAWS + 1,), 3.0), rates(torch.zeros(19)))
    grid = page.explorer_grid(errors, both, {"object": torch.ones(3, 32, 32), "face": torch.zeros(3, 112, 112)})
    assert len(grid["families"]) == len(grid["corruption"]) == 19
    assert grid["families"][4][0] == pytest.approx(80)
    assert grid["EER"][0][0] == 3
    assert torch.tensor(grid["face"]).shape == (64, 64, 3)
    assert torch.tensor(grid["object"]).min() == 255


def test_intervals_are_the_books():
    assert isinstance(made(*graded()).interval(torch.zeros(9)), Interval)
