"""Measures of page 15, on outputs made to hold and to fail."""

import pytest
import torch
import torch.nn.functional as F

from lib.book.ledger import judge
from lib.errors import WorkbookError
from lib.papers import registered_claim
from lib.studies.robust_ssl import joint_embedding_page as page
from lib.studies.robust_ssl.families import METHODS, REMOVALS, family
from lib.studies.robust_ssl.views import LEFT_OUT
from tests.studies.robust_ssl.small import prepared

DIM = 8


def even(seed):
    """Outputs (2 seeds, 60, 8), even on a sphere."""
    return F.normalize(torch.randn(2, 60, DIM, generator=torch.Generator().manual_seed(seed)), dim=2)


def constant(seed):
    """Outputs that are one answer for all, up to rounding."""
    return F.normalize(torch.ones(2, 60, DIM) + 1e-4 * even(seed), dim=2)


def one_line(seed):
    """Outputs on one line, half of them opposite: spread, but of rank one."""
    signs = torch.randint(2, (2, 60, 1), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    return F.normalize(signs * torch.ones(2, 60, DIM) + 1e-3 * even(seed), dim=2)


def outputs(removed):
    """Healthy outputs of every family, and what `removed` makes of those without a part."""
    whole = {(method, None): even(at) for at, method in enumerate(METHODS)}
    return whole | {case: removed(20 + at) for at, case in enumerate(REMOVALS)}


def verdict(name, interval):
    return judge((interval.low, interval.high), registered_claim(name))


def test_spread_and_rank_of_three_made_cases():
    found = [(page.spread_of(x[0]), page.rank_share(x[0]) * DIM) for x in (even(0), constant(0), one_line(0))]
    assert found[0] == (pytest.approx(1, abs=0.05), pytest.approx(DIM, rel=0.05))
    assert found[1][0] < 0.01
    assert found[2] == (pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.2))


@pytest.mark.parametrize(("name", "measure"), [("robust_ssl-2", page.spread_of), ("robust_ssl-2b", page.rank_share)])
def test_collapse_claims_hold_and_fail(name, measure):
    removed = constant if measure is page.spread_of else one_line
    assert verdict(name, page.healthier(outputs(removed), measure, resamples=20)) == "replicated"
    alike = outputs(even)
    alike[METHODS[3], family(METHODS[3]).parts[0]] = alike[METHODS[3], None]  # one family that no part helps
    assert verdict(name, page.healthier(alike, measure, resamples=20)) != "replicated"


def test_the_least_helped_family_decides():
    found = outputs(constant)
    found["DINO", "centring"] = found["DINO", None]
    assert page.healthier(found, page.spread_of, resamples=5).estimate == pytest.approx(0, abs=1e-9)


def test_the_spread_misses_one_line():
    assert verdict("robust_ssl-c6", page.missed_by_spread(outputs(one_line), resamples=20)) == "supported"
    assert verdict("robust_ssl-c6", page.missed_by_spread(outputs(constant), resamples=20)) != "supported"


def test_what_is_kept_without_a_slow_copy():
    assert verdict("robust_ssl-c7", page.kept_without(outputs(even), "BYOL", "EMA", resamples=20)) == "supported"
    assert verdict("robust_ssl-c7", page.kept_without(outputs(constant), "BYOL", "EMA", resamples=20)) == "refuted"


def rates(share, seed, n=400):
    return torch.rand(2, n, generator=torch.Generator().manual_seed(seed)) < share


def test_the_least_gain_over_an_untrained_encoder():
    base = rates(0.2, 0)
    found = page.least_gain({"good": rates(0.9, 1), "fair": rates(0.5, 2)}, base)
    wanted = 100 * (rates(0.5, 2).double().mean() - base.double().mean()).item()
    assert found.estimate == pytest.approx(wanted)
    assert verdict("ours-15b", found) == "passed"
    assert verdict("ours-15b", page.least_gain({"good": rates(0.9, 1), "none": rates(0.05, 3)}, base)) == "failed"


def domain(drop, seed):
    return {"all": rates(0.8, seed)} | {name: rates(0.8 - drop, seed + at) for at, name in enumerate(LEFT_OUT, 1)}


def test_augmentations_earn_more_on_one_domain():
    much, little = domain(0.3, 0), domain(0.0, 10)
    assert page.earned(much)["flip"].mean().item() == pytest.approx(30, abs=6)
    assert verdict("robust_ssl-9", page.sensitivity(much, little)) == "replicated"
    assert verdict("robust_ssl-9", page.sensitivity(little, much)) == "not replicated"
    with pytest.raises(WorkbookError, match="as many seeds"):
        page.sensitivity(much, {name: rows[:1] for name, rows in little.items()})


@pytest.mark.parametrize("method", METHODS)
def test_steps_are_lightlys_and_a_wrong_weight_is_not(method):
    pytest.importorskip("lightly.loss")
    model, loss, first, second = prepared(method)
    with torch.no_grad():
        theirs = float(page.lightly_loss(method, model, loss, first, second))
        assert loss.compare(model, first, second)["loss"].item() == pytest.approx(theirs, rel=1e-4)
        part = family(method).parts[0]
        wrong = prepared(method, part)[1].compare(model, first, second)["loss"].item()
        same_number = part in ("stop-gradient", "centring")  # these change the gradient, or the steps to come
        assert (wrong == pytest.approx(theirs, rel=1e-4)) == same_number


def test_tables_and_grids_name_every_case():
    rows = page.case_table(outputs(constant))
    assert [row["family"] for row in rows[:8]] == list(METHODS)
    assert len(rows) == len(METHODS) + len(REMOVALS)
    assert all(row["spread, least"] <= row["spread"] <= row["spread, most"] for row in rows)
    grid = page.circle_grid(2, 2)
    assert "DINO / centring" in grid
    assert all(angles.shape == (3, 24) for angles in grid.values())
