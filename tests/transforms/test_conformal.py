"""The maps against their formulas, their inverses and what makes a map conformal; one grid against two."""

import math
from dataclasses import replace

import pytest
import torch

from lib.errors import WorkbookError
from lib.transforms.augmentations import crop_to, resized_crop
from lib.transforms.conformal import (
    Affine,
    Homography,
    LogConformal,
    Moebius,
    Tilt,
    as_strong_affine,
    as_strong_homography,
    crop_plane,
    displacement,
    plane,
    warp,
    warp_boxes,
)
from lib.transforms.conformal_views import KINDS, ConformalViews, draw_coefficients
from lib.transforms.distortions import DIRECTIONS, SUBSETS, SWEEP, distort, tilt
from lib.transforms.views import Views, random_boxes

C = torch.tensor([0.3, -0.2j, 0.1 + 0.2j], dtype=torch.complex128)
CONFORMAL = {"moebius": Moebius(C), "reduced": Moebius(C, 0.75), "log": LogConformal(2 * C)}
OTHERS = {
    "homography": Homography(C),
    "affine": Affine(torch.eye(2).double() + 0.2 * torch.tensor([[[1.0, 2], [0, -1]]] * 3).double()),
    "tilt": Tilt(torch.tensor([0.3, 0.5, -0.4]).double(), torch.tensor([0.0, 1.0, 2.5]).double()),
}
MAPS = CONFORMAL | OTHERS
PLAIN = Views(crop=(1, 1), flip=0.0, jitter_p=0.0, gray=0.0, blur=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def points(n=50, reach=0.9):
    x, y = (2 * torch.rand(2, 3, n, generator=generator()).double() - 1) * reach
    return torch.complex(x, y)[:, None]


def smooth(n=4, side=33):
    coarse = torch.rand(n, 3, 5, 5, generator=generator(1))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


def jacobian(plane_map, z, step=1e-6):
    """(.., 2, 2) by finite differences: row = part of the value, column = part of the point."""
    columns = [(plane_map(z + way) - plane_map(z - way)) / (2 * step) for way in (step, step * 1j)]
    return torch.stack([torch.view_as_real(column) for column in columns], -1)


@pytest.mark.parametrize("name", CONFORMAL)
def test_conformal_maps_fulfil_cauchy_and_riemann(name):
    found = jacobian(CONFORMAL[name], points())
    assert torch.allclose(found[..., 0, 0], found[..., 1, 1], atol=1e-7)
    assert torch.allclose(found[..., 0, 1], -found[..., 1, 0], atol=1e-7)
    values = torch.linalg.svdvals(found)
    assert torch.allclose(values[..., 0], values[..., 1], rtol=1e-6)


@pytest.mark.parametrize("name", OTHERS)
def test_the_controls_are_not_conformal(name):
    values = torch.linalg.svdvals(jacobian(OTHERS[name], points()))
    assert (values[..., 0] / values[..., 1]).median() > 1.05


@pytest.mark.parametrize("name", CONFORMAL)
def test_two_curves_cross_at_the_same_angle(name):
    """A circle and a parabola through the same point, before and after."""
    z, step = points(), 1e-6
    one, other = z + step * (1 + 0.5j), z + step * (-0.2 + 1j) + 3 * step**2
    before = torch.angle((other - z) / (one - z))
    image = CONFORMAL[name](z)
    after = torch.angle((CONFORMAL[name](other) - image) / (CONFORMAL[name](one) - image))
    assert torch.allclose(before, after, atol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_the_inverse_undoes_the_map(name):
    z = points(reach=0.6)
    assert torch.allclose(MAPS[name].inverse(MAPS[name](z)), z, atol=1e-9)
    assert torch.allclose(MAPS[name](MAPS[name].inverse(z)), z, atol=1e-9)


def test_moebius_inverse_is_moebius_in_the_other_direction():
    z = points()
    assert torch.allclose(Moebius(C).inverse(z), Moebius(-C)(z))


def test_nothing_moves_at_zero():
    z, none = plane(7, 9), torch.zeros(2, dtype=torch.complex64)
    still = (Moebius(none), LogConformal(none), Homography(none), Affine(torch.eye(2).expand(2, 2, 2)))
    for plane_map in (*still, Tilt(torch.zeros(2), torch.ones(2))):
        assert torch.allclose(plane_map(z), z.expand(2, 7, 9), atol=1e-6)
        assert torch.allclose(plane_map.inverse(z), z.expand(2, 7, 9), atol=1e-6)
    x = smooth()
    assert torch.allclose(warp(x, plane(33, 33)), x, atol=1e-5)


@pytest.mark.parametrize("size", [0.01, 0.02, 0.04])
def test_log_conformal_misses_moebius_by_a_third_order_term(size):
    """c^2 |z|^3 / 3 to third order; the next term is 3 c z times that."""
    z, c = plane(41, 41).to(torch.complex128), torch.tensor([size * (0.6 + 0.8j)], dtype=torch.complex128)
    gap = (Moebius(c)(z) - LogConformal(2 * c)(z)).abs()[0]
    wanted = size**2 * z.abs() ** 3 / 3
    assert ((gap - wanted).abs() <= 5 * size * wanted + 1e-12).all()
    assert gap.mean() == pytest.approx(wanted.mean().item(), rel=3 * size)


def test_the_mean_gap_of_the_sheet():
    """At |c| = 0.1, 0.2, 0.3 on a grid of 41 by 41, as the facts of the slides print it."""
    z = plane(41, 41)
    for size, gap, term in ((0.1, 0.0023, 0.0022), (0.2, 0.0098, 0.0090), (0.3, 0.0243, 0.0202)):
        c = torch.tensor([size + 0j])
        assert (Moebius(c)(z) - LogConformal(2 * c)(z)).abs().mean() == pytest.approx(gap, abs=6e-5)
        assert (size**2 * z.abs() ** 3 / 3).mean() == pytest.approx(term, abs=6e-5)


def test_the_real_formula_of_the_slides():
    """num / den in real parts, written out."""
    z, c = plane(5, 6), torch.tensor([0.2 - 0.1j])
    x, y, re, im = z.real, z.imag, 0.2, -0.1
    below_re, below_im = 1 + re * x - im * y, re * y + im * x
    norm = below_re**2 + below_im**2
    wanted = torch.complex((x * below_re + y * below_im) / norm, (y * below_re - x * below_im) / norm)
    assert torch.allclose(Moebius(c)(z)[0], wanted, atol=1e-6)


def test_a_homography_keeps_lines_straight_and_moebius_bends_them():
    line = torch.complex(torch.linspace(-0.8, 0.8, 9), torch.linspace(-0.3, 0.7, 9)).to(torch.complex128)[None]

    def bend(z):
        z = z.flatten()
        way = (z[-1] - z[0]).conj()
        return (((z - z[0]) * way).imag / way.abs()).abs().max()

    for straight in (Homography(C[:1]), Tilt(torch.tensor([0.5]).double(), torch.tensor([0.7]).double())):
        assert bend(straight(line)) < 1e-7  # the line itself is rounded in float32
    assert bend(Moebius(C[:1])(line)) > 0.01


def test_a_tilted_plane_is_what_a_camera_sees():
    """Points of a board turned about the vertical axis, projected through a pinhole."""
    angle, distance = 0.5, 2.0
    board = points(20)[:1]
    x, y, depth = board.real * math.cos(angle), board.imag, board.real * math.sin(angle) + distance
    seen = torch.complex(distance * x / depth, distance * y / depth)
    tilted = Tilt(torch.tensor([angle]).double(), torch.zeros(1).double(), distance)
    assert torch.allclose(tilted.inverse(board), seen)
    assert torch.allclose(tilted(seen), board)


def test_the_controls_are_as_strong():
    """To first order: at small c the mean square displacements agree."""
    c = draw_coefficients(400, (0.02, 0.02), generator())
    wanted = displacement(Moebius(c))
    assert torch.allclose(displacement(as_strong_homography(c)), wanted, rtol=0.05)
    assert torch.allclose(displacement(LogConformal(2 * c)), wanted, rtol=0.05)
    affine = displacement(as_strong_affine(c, torch.randn(400, 2, 2, generator=generator())))
    assert affine.mean() == pytest.approx(wanted.mean().item(), rel=0.06)


def test_a_square_crop_of_a_moebius_map_is_a_moebius_map():
    """a = s, b = t, c' = c s, d = 1 + c t: the composition by hand."""
    box = torch.tensor([[0.1, 0.3, 0.5, 0.5]])
    w = crop_plane(box, torch.tensor([False]), 32, 32)
    s = (w[0, 0, 1] - w[0, 0, 0]).real / (2 / 31)
    t = w[0].mean()
    c = torch.tensor([0.2 + 0.1j])
    base = plane(32, 32)
    assert torch.allclose(Moebius(c)(w)[0], (s * base + t) / (c * s * base + 1 + c * t), atol=1e-5)


def test_a_crop_reads_where_the_plain_crop_reads():
    x = smooth(side=32)
    box = torch.tensor([[0.1, 0.2, 0.5, 0.6]] * 4)
    flip = torch.tensor([True, False, True, False])
    found = warp(x, crop_plane(box, flip, 32, 32), "padded")
    assert torch.allclose(found, resized_crop(x, box, flip), atol=1e-5)


def test_a_map_after_the_crop_bends_the_crop():
    """As in two steps, crop and then map: on a smooth picture nearly the same, and black at the same pixels."""
    x = smooth(8, 32)
    views = ConformalViews(p=1.0, views=Views(jitter_p=0, gray=0, blur=0), after_crop=True)
    found = views(x, generator())
    draw = generator()
    moebius = views.draw(8, draw)
    box = random_boxes(8, 32, 32, views.views.crop, views.views.ratio, draw)
    wanted = warp(resized_crop(x, box, torch.rand(8, generator=draw) < 0.5), moebius(plane(32, 32)))
    assert (found - wanted).abs().mean() < 5e-3
    assert ((found.amax(1) == 0) == (wanted.amax(1) == 0)).float().mean() > 0.999
    assert (found.amax(1) == 0).float().mean() > 0.02


@pytest.mark.parametrize("after_crop", [True, False])
def test_small_views_are_read_once_at_their_own_size(after_crop):
    """Half as many points read the picture where every second does, not a view that was made small afterwards."""
    x, small = smooth(4, 32), Views(crop=(0.1, 0.3), jitter_p=0, gray=0, blur=0, size=16)
    views = ConformalViews(p=1.0, views=small, after_crop=after_crop)
    found = views(x, generator())
    assert found.shape == (4, 3, 16, 16)
    draw = generator()
    moebius = views.draw(4, draw)
    box = random_boxes(4, 32, 32, small.crop, small.ratio, draw)
    wanted = views.bent(x, moebius, box, torch.rand(4, generator=draw) < 0.5)
    assert torch.allclose(found, wanted, atol=1e-6)
    if not after_crop:
        still = ConformalViews(p=0.0, views=replace(small, flip=0.0))(x, generator(1))
        draw = generator(1)
        views.draw(4, draw)
        plain = crop_to(x, random_boxes(4, 32, 32, small.crop, small.ratio, draw), torch.zeros(4).bool(), 16)
        assert (still - plain).abs().max() < 0.02


def test_one_interpolation_is_near_two_and_sharper():
    """On a smooth picture they agree; on a fine one the second interpolation blurs."""
    box, flip = torch.tensor([[0.2, 0.2, 0.6, 0.6]] * 4), torch.tensor([True, False] * 2)
    moebius = Moebius(torch.tensor([0.2, -0.2, 0.2j, -0.2j]))
    for x in (smooth(side=64), torch.rand(4, 3, 64, 64, generator=generator())):
        once = warp(x, moebius(crop_plane(box, flip, 64, 64)))
        twice = resized_crop(warp(x, moebius(plane(64, 64))), box, flip)
        if x[0, 0].diff(dim=1).abs().mean() < 0.1:
            assert (once - twice).abs().mean() < 0.01
        else:
            assert twice.std() < 0.95 * once.std()


@pytest.mark.parametrize("name", ["moebius", "log", "homography", "tilt"])
def test_boxes_follow_what_is_drawn_in_them(name):
    """A box painted white and warped: its bright pixels fill the warped box, to a pixel."""
    side, drawn = 96, torch.tensor([[20, 30, 45, 60], [50, 15, 80, 40], [35, 50, 60, 75]])
    x = torch.zeros(3, 1, side, side)
    for row, (left, top, right, bottom) in enumerate(drawn.tolist()):
        x[row, 0, top : bottom + 1, left : right + 1] = 1
    seen = warp(x, MAPS[name](plane(side, side).to(torch.complex128)))
    found = warp_boxes(drawn[:, None].double(), MAPS[name], side, side)[:, 0]
    for row in range(3):
        rows, columns = (seen[row, 0] > 0.5).nonzero().unbind(1)
        bright = torch.stack([columns.min(), rows.min(), columns.max(), rows.max()])
        assert (found[row] - bright).abs().max() < 1.6  # half a pixel of paint beyond the centres, enlarged


def test_the_directions_are_the_releases():
    """The library's names: right is +r, bottom is +i r; that side or its opposite is enlarged, the same for tilts."""
    assert {name: complex(c) for name, c in DIRECTIONS.items()} == {"left": -1, "right": 1, "top": -1j, "bottom": 1j}
    assert len(SUBSETS) == 8
    x = torch.zeros(1, 1, 65, 65)
    x[..., 32, 12] = x[..., 32, 52] = 1  # two dots, left and right of the centre
    for picture in (distort(x, "right"), tilt(x, "right")):
        columns = picture[0, 0].sum(0)
        left, right = columns[:32].sum(), columns[33:].sum()
        assert right > 1.2 * left


@pytest.mark.parametrize("subset", SUBSETS)
def test_every_subset_moves_further_along_the_sweep(subset):
    x = smooth()
    moved = [(distort(x, *SUBSETS[subset], size) - x).square().mean() for size in SWEEP]
    assert all(low < high for low, high in zip(moved, moved[1:], strict=False))


def test_black_has_a_rim_and_padded_has_none():
    bright = torch.ones(1, 3, 33, 33)
    assert distort(bright, "left").min() == 0
    assert distort(bright, "left", "padded").min() > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_drawn_per_picture_by_the_generator_alone(kind):
    views, x = ConformalViews(kind, p=0.5, views=PLAIN), smooth(32)
    torch.manual_seed(1)
    one = views(x, generator(3))
    torch.manual_seed(2)
    assert torch.equal(one, views(x, generator(3)))
    assert not torch.equal(one, views(x, generator(4)))
    still = (one - x).abs().amax((1, 2, 3)) < 1e-4
    assert 8 <= still.sum() <= 24


def test_without_a_map_a_view_is_the_plain_view():
    """The same box and flip come after the maps' own draws."""
    x = smooth(6, 32)
    draw = generator()
    ConformalViews().draw(6, draw)
    box = random_boxes(6, 32, 32, (0.2, 1.0), (3 / 4, 4 / 3), draw)
    plain = resized_crop(x, box, torch.rand(6, generator=draw) < 0.5)
    for after_crop in (True, False):
        views = ConformalViews(p=0.0, views=Views(jitter_p=0, gray=0, blur=0), after_crop=after_crop)
        assert torch.allclose(views(x, generator()), plain, atol=1e-4)
    assert (plain - x).abs().max() > 0.1
    whole = ConformalViews(p=0.0, views=PLAIN)(x, generator())
    assert torch.allclose(whole, x, atol=1e-4)


def test_coefficients_have_one_part_in_the_range():
    c = draw_coefficients(4000, (0.1, 0.3), generator())
    assert (torch.minimum(c.real.abs(), c.imag.abs()) < 1e-6).all()
    assert 0.1 <= c.abs().min() < 0.101
    assert 0.299 < c.abs().max() <= 0.3001
    for part in (c.real > 0.05, c.real < -0.05, c.imag > 0.05, c.imag < -0.05):
        assert part.float().mean() == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "twist"}, "moebius, log"),
        ({"magnitude": (0.3, 0.1)}, "within"),
        ({"kind": "log", "magnitude": (0.2, 0.4)}, "0.35"),
        ({"p": 1.5}, "p in"),
        ({"background": "red"}, "black, padded"),
        ({"background": "padded", "after_crop": True}, "black background alone"),
    ],
)
def test_bad_settings_are_told(settings, words):
    with pytest.raises(WorkbookError, match=words):
        ConformalViews(**settings)


def test_bad_names_are_told():
    with pytest.raises(WorkbookError, match="left, right, top, bottom"):
        distort(smooth(), "up")
    with pytest.raises(WorkbookError, match="black"):
        warp(smooth(), plane(33, 33), "grey")
