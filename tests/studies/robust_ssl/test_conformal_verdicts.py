"""Claims of page 17 on rights made to hold and to fail, and the effects by hand."""

import pytest
import torch

from lib.book.ledger import judge
from lib.errors import WorkbookError
from lib.evaluation import Interval
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.papers import registered_claim
from lib.studies.robust_ssl import conformal_verdicts as page


def judged_as(name, interval):
    return judge((interval.low, interval.high), registered_claim(name))


def verdict(name, values):
    return judged_as(name, over_seeds(values, resamples=200))


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
    del base["DINO", "moebius"]
    assert page.mean_gap(base, "moebius", "standard").mean().item() == pytest.approx(20, abs=0.5)
    with pytest.raises(WorkbookError, match="judge one first"):
        page.mean_gap(base, "log", "standard")


STANDARD = rights(0.6, 0.3, 0.31)


def of_source(simclr, dino):
    """Rights with the release's views, beside standard ones."""
    return {
        ("SimCLR", "standard"): STANDARD,
        ("SimCLR", "released"): simclr,
        ("DINO", "standard"): STANDARD,
        ("DINO", "moebius"): dino,
    }


GAIN, LITTLE = rights(0.6, 0.48), rights(0.6, 0.35)


@pytest.mark.parametrize(
    ("simclr", "dino", "word"),
    [(GAIN, GAIN, "replicated"), (LITTLE, GAIN, "not replicated"), (GAIN, LITTLE, "not replicated")],
)
def test_both_methods_must_gain(simclr, dino, word):
    found = of_source(simclr, dino)
    assert judged_as("robust_ssl-3", page.least_of(page.source_gaps(found))) == word
    assert judged_as("robust_ssl-3c", page.least_of(page.beyond_half(found))) == word


def test_half_of_the_cost_by_hand():
    """Of 30 points lost 18 are won back by one method, 5 by the other."""
    found = {name: part.mean().item() for name, part in page.beyond_half(of_source(GAIN, LITTLE)).items()}
    assert found == {"SimCLR": pytest.approx(18 - 15, abs=0.5), "DINO": pytest.approx(5 - 15, abs=0.5)}


def test_one_method_that_loses_clean_accuracy_is_enough():
    for dino, word in ((GAIN, "replicated"), (rights(0.5, 0.48), "not replicated")):
        gaps = page.source_gaps(of_source(GAIN, dino), page.clean)
        assert judged_as("robust_ssl-3b", page.farthest_of(gaps)) == word
    opposite = {"up": torch.full((2, 9), 5.0), "down": torch.full((2, 9), -6.0)}
    assert page.farthest_of(opposite).estimate == -6


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


def test_a_share_that_carries_over_refutes_the_critique_of_the_benchmark():
    """Standard views lose 30 points under Moebius's map and 10 under tilts: shares are compared, not points."""
    base = rights(0.6, 0.3, 0.5)
    for tilted, word in ((0.51, "supported"), (0.59, "refuted")):
        found = judged(base, rights(0.6, 0.5, tilted))
        assert judged_as("robust_ssl-c5", page.less_won_back_under_tilt(found)) == word
    assert page.won_back(found).estimate == pytest.approx(100 * 20 / 30, abs=2)
    assert page.won_back(found, page.tilted).estimate == pytest.approx(90, abs=5)


def test_a_probe_alone_can_bring_the_gain_or_not():
    views = rights(0.6, 0.5)
    found = page.by_probe_alone(rights(0.6, 0.45), STANDARD, views)
    assert found.mean().item() == pytest.approx(15 - 10, abs=0.5)
    assert verdict("robust_ssl-c17b", found) == "supported"
    assert verdict("robust_ssl-c17b", page.by_probe_alone(rights(0.6, 0.32), STANDARD, views)) == "refuted"


def test_distortion_that_costs_little_fails_the_check():
    assert judged_as("ours-17d", page.least_of(page.distortion_costs(of_source(GAIN, GAIN)))) == "passed"
    cheap = of_source(GAIN, GAIN) | {("DINO", "standard"): rights(0.6, 0.55)}
    assert judged_as("ours-17d", page.least_of(page.distortion_costs(cheap))) == "failed"


def test_a_gain_that_grows_with_training_fails_the_check():
    def gain(found):
        return page.distorted(found) - page.distorted(STANDARD)

    assert verdict("ours-17f", gain(rights(0.6, 0.485)) - gain(GAIN)) == "passed"
    assert verdict("ours-17f", gain(rights(0.6, 0.55)) - gain(GAIN)) == "failed"


def test_a_claim_that_cannot_be_asked_has_no_interval():
    found = Interval(1.0, 0.0, 2.0)
    assert page.only_if(True, found, "no gain", "read so") == (found, "read so")
    assert page.only_if(False, found, "no gain", "read so") == (None, "no gain")
