"""How near views come to tilts: maps that reach them, maps that cannot, and the claim made to hold and to fail."""

import math

import pytest
import torch

from lib.book.ledger import judge
from lib.evaluation import bootstrap
from lib.papers import registered_claim
from lib.studies.robust_ssl import nearest_views as near
from lib.transforms.conformal import Affine, Moebius, plane

TILTS = near.drawn_tilts(3)
LEFT = {kind: near.left_of_tilts(kind, TILTS) for kind in near.FITTED}


def verdict(interval):
    return judge((interval.low, interval.high), registered_claim("robust_ssl-3d"))


def test_tilts_are_drawn_before_each_camera():
    assert [tilt.distance for tilt in TILTS] == list(near.CAMERAS)
    angles = torch.cat([tilt.angle for tilt in TILTS])
    assert ((angles >= math.radians(10)) & (angles <= math.radians(45))).all()
    assert len(angles.unique()) == 12


def test_a_tilt_is_a_homography_and_a_crop_and_nothing_else_is():
    assert LEFT["homography"].max() < 1e-3
    assert all(LEFT[kind].min() > 0.1 for kind in near.FITTED if kind != "homography")


def test_what_can_do_more_leaves_less():
    for kind in ("affine", "moebius", "log", "homography"):
        assert (LEFT[kind] <= LEFT["crop"] + 1e-3).all()


def test_maps_of_a_kind_are_reached_by_that_kind():
    """A Moebius map, and an affine one, in place of the tilt."""
    moebius, affine = Moebius(torch.tensor([0.2 - 0.1j] * 2)), Affine(torch.tensor([[[1.1, 0.3], [-0.2, 0.8]]]))
    assert near.left_of_tilts("moebius", [moebius]).max() < 1e-3
    assert near.left_of_tilts("affine", [affine]).max() < 1e-3
    assert near.left_of_tilts("affine", [moebius]).min() > 0.2


def test_the_affine_fit_is_that_of_least_squares():
    z = plane(15, 15).to(torch.complex128)
    wanted = TILTS[0](z)[0]
    given = torch.stack([z.real, z.imag, torch.ones_like(z.real)], 2).view(-1, 3)
    aims = torch.view_as_real(wanted).view(-1, 2)
    missed = aims - given @ torch.linalg.lstsq(given, aims).solution
    share = (missed.square().sum() / (wanted - z).abs().square().sum()).sqrt().item()
    assert LEFT["affine"][0].item() == pytest.approx(share, abs=1e-3)


def test_moebius_is_nearer_than_affine_and_would_not_be_the_other_way_round():
    nearer, farther = LEFT["moebius"] - LEFT["affine"], LEFT["affine"] - LEFT["homography"]
    assert verdict(bootstrap(torch.mean, nearer, resamples=100)) == "replicated"
    assert verdict(bootstrap(torch.mean, farther, resamples=100)) == "not replicated"
