"""Measures of collapse of page 15 and its claims, on outputs made to hold and to fail."""

import pytest
import torch
import torch.nn.functional as F

from lib import cache
from lib.book import run as book
from lib.book.ledger import judge
from lib.interval import Interval
from lib.papers import registered_claim
from lib.studies.robust_ssl import collapse_measures as page
from lib.studies.robust_ssl.families import METHODS, REMOVALS
from lib.studies.robust_ssl.study import study_for
from lib.training import loop

DIM = 8


def even(seed, seeds=2):
    """Outputs (seeds, 60, 8), even on a sphere."""
    return F.normalize(torch.randn(seeds, 60, DIM, generator=torch.Generator().manual_seed(seed)), dim=2)


def constant(seed):
    """Outputs that are one answer for all, up to rounding."""
    return F.normalize(torch.ones(2, 60, DIM) + 1e-4 * even(seed), dim=2)


def one_line(seed):
    """Outputs on one line, half of them opposite: spread, but of rank one."""
    signs = torch.randint(2, (2, 60, 1), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    return F.normalize(signs * torch.ones(2, 60, DIM) + 1e-3 * even(seed), dim=2)


def tables(removed, measure, **other):
    """A measure of healthy outputs of every family, and of what `removed` makes of those without a part."""
    found = {(method, None): even(at) for at, method in enumerate(METHODS)}
    found |= {case: removed(20 + at) for at, case in enumerate(REMOVALS)}
    return page.measured(found | other.get("but", {}), measure, draws=20)


def verdict(name, interval):
    return judge((interval.low, interval.high), registered_claim(name))


def test_spread_and_rank_of_three_made_cases():
    found = [(page.spread_of(x[0]), page.rank_share(x[0]) * DIM) for x in (even(0), constant(0), one_line(0))]
    assert found[0] == (pytest.approx(1, abs=0.05), pytest.approx(DIM, rel=0.05))
    assert found[1] == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    assert found[2] == (pytest.approx(1, abs=0.1), pytest.approx(1, abs=0.2))


def test_measures_are_those_of_all_pictures_and_of_halves():
    values = even(0)
    table = page.measured({("SimCLR", None): values}, page.spread_of, draws=3)["SimCLR", None]
    assert table.shape == (4, 2)
    assert table[0].tolist() == [page.spread_of(one) for one in values]
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(0))[:30]
    assert table[1, 1].item() == page.spread_of(values[1][rows])


@pytest.mark.parametrize(
    ("name", "measure", "collapsed", "but"),
    [
        ("robust_ssl-2", page.rank_share, one_line, ()),
        ("robust_ssl-2", page.rank_share, constant, ()),
        ("robust_ssl-2b", page.spread_of, constant, ("Barlow Twins",)),
    ],
)
def test_collapse_claims_hold_and_fail(name, measure, collapsed, but):
    assert verdict(name, page.most_kept(tables(collapsed, measure), but)) == "replicated"
    alike = tables(collapsed, measure, but={("SimSiam", "stop-gradient"): even(3)})  # one family that no part helps
    assert verdict(name, page.most_kept(alike, but)) == "not replicated"


def test_the_family_that_keeps_most_decides_unless_it_is_left_out():
    found = tables(constant, page.spread_of, but={("Barlow Twins", "decorrelation"): even(6)})
    assert page.most_kept(found).estimate == pytest.approx(1, abs=1e-9)
    assert page.most_kept(found, ("Barlow Twins",)).estimate < 0.01


def test_the_spread_misses_one_line():
    found = [
        page.missed_by_spread(*(tables(case, m) for m in (page.spread_of, page.rank_share))) for case in (one_line,)
    ]
    assert verdict("robust_ssl-c6", found[0]) == "supported"
    alike = page.missed_by_spread(*(tables(constant, m) for m in (page.spread_of, page.rank_share)))
    assert verdict("robust_ssl-c6", alike) != "supported"


def test_a_slow_copy_is_needed_where_spread_or_accuracy_go():
    kept = page.kept_without(tables(even, page.spread_of), "BYOL", "EMA").shifted(-0.5)
    lost = page.kept_without(tables(constant, page.spread_of), "BYOL", "EMA").shifted(-0.5)
    more, less = Interval(0.1, 0.08, 0.12, n=9), Interval(-0.1, -0.12, -0.08)
    found = [page.smaller_of(*pair) for pair in ((kept, more), (kept, less), (lost, more))]
    assert [verdict("robust_ssl-c7", each) for each in found] == ["supported", "refuted", "refuted"]


def test_one_seed_is_a_dot_without_a_range():
    case = ("DINO", "EMA")
    values = {("DINO", None): even(0), case: even(1, seeds=1)}
    spread, rank = (page.measured(values, measure, draws=2) for measure in (page.spread_of, page.rank_share))
    right = {("DINO", None): torch.ones(2, 4).bool(), case: torch.tensor([[True, False, False, False]])}
    rows = page.case_table(spread, rank, right, {case: torch.full((1, 60, 5), 0.2)})
    assert [row["without"] for row in rows] == ["-", "EMA"]
    assert rows[1]["accuracy, least"] == rows[1]["accuracy"] == rows[1]["accuracy, most"] == 25
    assert [row["assignments, rank / K"] for row in rows] == ["-", "0.200"]


def test_outputs_of_a_study(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    study = study_for(book.start("15_joint_embedding", profile="smoke", device="cpu"))
    before, after = (page.collapse_outputs(study, case) for case in (page.UNTRAINED, ("SwAV", None)))
    assert before.shape == after.shape == (2, study.scale.held, study.scale.dim)
    assert torch.allclose(after.norm(dim=2), torch.ones(after.shape[:2]), atol=1e-5)
    assert not torch.equal(before, after)
    given = page.assignments(study, ("SwAV", None))
    assert torch.allclose(given.sum(2), torch.ones(given.shape[:2]), atol=1e-5)
    assert page.assignments(study, ("SimCLR", None)) is None
    assert page.collapse_rights(study, ("DINO", "EMA")).shape == (1, study.scale.test)
    assert page.collapse_rights(study, page.UNTRAINED).shape == (2, study.scale.test)
