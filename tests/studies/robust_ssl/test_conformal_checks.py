"""What page 17 checks without a network, on maps that pass and on maps that must not."""

import math

import pytest
import torch

from lib.book.ledger import judge
from lib.evaluation import Interval, bootstrap
from lib.papers import registered_claim
from lib.studies.robust_ssl import conformal_checks as checks
from lib.transforms.conformal import Affine, Homography, Moebius, Tilt
from lib.transforms.distortions import degrees_as_strong

WAYS = 0.3 * torch.tensor([1, -1, 1j, -1j], dtype=torch.complex128)


def verdict(name, interval):
    return judge((interval.low, interval.high), registered_claim(name))


def exactly(value):
    return Interval(value, value, value)


def test_stretch_of_a_known_matrix():
    """x twice as long, y as it is, then turned: the larger singular value is twice the smaller."""
    turned = torch.tensor([[[0.0, -1.0], [2.0, 0.0]]], dtype=torch.float64)
    assert torch.allclose(checks.stretch(Affine(turned)), torch.full((1, 21, 21), 2.0, dtype=torch.float64))


def test_stretch_of_a_homography_by_its_derivative():
    """z / (1 + c x) at y = 0, c real: 1 / (1 + c x)^2 along x and 1 / (1 + c x) across."""
    found = checks.stretch(Homography(torch.tensor([0.2 + 0j], dtype=torch.complex128)))[0, 10]
    x = 0.95 * torch.linspace(-1, 1, 21, dtype=torch.float64)
    assert torch.allclose(found, torch.maximum(1 + 0.2 * x, 1 / (1 + 0.2 * x)), atol=1e-5)


def test_conformal_maps_pass_and_a_homography_fails():
    maps = checks.maps_of(WAYS)
    assert verdict("ours-17e", exactly(checks.stretch(maps["moebius"]).max().item() - 1)) == "passed"
    assert verdict("ours-17e", exactly(checks.stretch(maps["log"]).max().item() - 1)) == "passed"
    assert verdict("ours-17e", exactly(checks.stretch(maps["homography"]).max().item() - 1)) == "failed"


def test_a_tilt_stretches_and_moebius_would_refute_the_critique():
    angle = torch.full((4,), math.radians(degrees_as_strong()), dtype=torch.float64)
    tilts = Tilt(angle, torch.arange(4).double() * math.pi / 2)
    assert verdict("robust_ssl-c17a", exactly(checks.stretch(tilts).median().item())) == "supported"
    assert verdict("robust_ssl-c17a", exactly(checks.stretch(Moebius(WAYS)).median().item())) == "refuted"
    near, far = degrees_as_strong(distance=1.5), degrees_as_strong(distance=5.0)
    assert near < degrees_as_strong() < far  # a camera far away sees less perspective, so it takes more of a tilt


def test_the_third_order_term_needs_k_to_be_twice_c():
    sizes = torch.tensor([0.01, 0.3])
    found = checks.over_third_order(sizes)
    assert found[1] == pytest.approx(0.0243 / 0.0202, abs=0.01)  # the facts' sheet
    assert verdict("ours-17", exactly(found[0].item())) == "passed"
    assert verdict("ours-17", exactly(checks.over_third_order(sizes, factor=2.02)[0].item())) == "failed"


def test_boxes_that_stay_behind_fail():
    found = checks.box_agreement(40)
    assert len(found["rim"]) == len(found["left alone"]) > 30
    assert verdict("ours-17b", bootstrap(torch.mean, found["rim"], resamples=100)) == "passed"
    assert verdict("ours-17b", bootstrap(torch.mean, found["left alone"], resamples=100)) == "failed"
    assert found["corners"].mean() <= found["rim"].mean() + 1e-3


def test_overlap_by_hand():
    one = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 1.0]])
    other = torch.tensor([[1.0, 1.0, 3.0, 3.0], [2.0, 2.0, 3.0, 3.0]])
    assert checks._overlap(one, other).tolist() == pytest.approx([1 / 7, 0])


def test_one_interpolation_is_sharper_and_two_are_not():
    found = checks.one_or_two(count=8)

    def kept(a, b):
        return bootstrap(lambda x, y: x.mean() / y.mean(), a, b, resamples=100)

    assert verdict("ours-17c", kept(found["once"], found["twice"])) == "passed"
    assert verdict("ours-17c", kept(found["twice"], found["twice"])) == "failed"


def test_costs_are_those_of_each_work_in_turn(monkeypatch):
    """A clock that only the works move: the first round is not counted, and the order goes round."""
    now, order = [0.0], []
    monkeypatch.setattr(checks.time, "process_time", lambda: now[0])

    def work(name, takes):
        def run():
            order.append(name)
            now[0] += takes

        return run

    threads = torch.get_num_threads()
    found = checks._in_turn({"a": work("a", 2.0), "b": work("b", 3.0)}, 2, 4)
    assert found == {"a": [5e5, 5e5], "b": [7.5e5, 7.5e5]}
    assert "".join(order) == "baabba"
    assert torch.get_num_threads() == threads


def test_every_kind_of_view_is_timed():
    found = checks.view_costs(2, count=4)
    assert set(found) == {"moebius", "log", "homography", "affine", "plain crop", "two steps", "torchvision"}
    assert all(len(taken) == 2 and (taken >= 0).all() for taken in found.values())


def test_maps_are_timed_alone():
    found = checks.map_costs(2, count=4)
    assert set(found) == {"moebius", "log", "log, torch"}
    assert all(len(taken) == 2 for taken in found.values())


def test_a_cheaper_logarithm_would_replicate():
    slow, fast = torch.tensor([3.0, 3.2, 2.9]).double(), torch.tensor([2.0, 2.2, 2.1]).double()
    assert checks.median_ratio(slow, fast) == pytest.approx(3.2 / 2.2)
    cheaper = bootstrap(checks.median_ratio, fast, slow, resamples=50)
    dearer = bootstrap(checks.median_ratio, slow, fast, resamples=50)
    assert verdict("robust_ssl-4b", cheaper) == "replicated"
    assert verdict("robust_ssl-4b", dearer) == "not replicated"
