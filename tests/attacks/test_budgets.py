import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.attacks import L2, Intensity, Linf, intensity_of, rescale_to_intensity
from lib.attacks.budgets import noise_of, norms, number
from lib.errors import WorkbookError
from tests.attacks.small import pictures

BUDGETS = {
    "linf": lambda eps: Linf(eps),
    "l2": lambda eps: L2(10 * eps),
    "intensity": lambda eps: Intensity(eps),
    "intensity l2": lambda eps: Intensity(eps, "[0,1]", "l2"),
}
cases = given(
    name=st.sampled_from(sorted(BUDGETS)),
    eps=st.floats(0.001, 0.3),
    spread=st.floats(0.0, 1.0),
    seed=st.integers(0, 10_000),
)


def drawn(name, eps, spread, seed):
    torch.manual_seed(seed)
    x = pictures(3, seed, 5)
    return BUDGETS[name](eps).around(x), x, x + spread * torch.randn_like(x)


def inside(region, y):
    if hasattr(region, "lower"):
        near = (y - region.clean).abs().amax((1, 2, 3), keepdim=True) <= region.radius + 1e-9
    else:
        near = norms(y - region.clean) <= region.radius + 1e-9
    return bool(near.all()) and bool(((y >= 0) & (y <= 1)).all())


@cases
@settings(max_examples=60, deadline=None)
def test_projection_lands_inside_and_stays(name, eps, spread, seed):
    region, _, y = drawn(name, eps, spread, seed)
    once = region.project_(y.clone())
    assert inside(region, once)
    torch.testing.assert_close(region.project_(once.clone()), once, rtol=0, atol=1e-9)


@cases
@settings(max_examples=60, deadline=None)
def test_projection_is_the_nearest_point(name, eps, spread, seed):
    """Against random points of the region; for balls away from the walls of [0,1], where the clamp is idle."""
    region, x, y = drawn(name, eps, spread, seed)
    if not hasattr(region, "lower"):
        region, y = type(region)(0.5 + 0 * x, region.radius.clamp(max=0.5)), y - x + 0.5
    best = norms(region.project_(y.clone()) - y)
    for _ in range(20):
        other = region.sample()
        assert (best <= norms(other - y) + 1e-9).all()


@cases
@settings(max_examples=40, deadline=None)
def test_starts_lie_inside(name, eps, spread, seed):
    region, _, _ = drawn(name, eps, spread, seed)
    assert inside(region, region.sample())


def test_inside_points_do_not_move():
    region = L2(1.0).around(pictures())
    torch.testing.assert_close(region.project_(pictures() * 0.999), pictures() * 0.999)


def test_linf_start_fills_the_box_evenly():
    x = torch.full((50, 3, 12, 12), 0.5)
    move = (Linf(0.1).around(x).sample(torch.Generator().manual_seed(0)) - x).flatten()
    assert move.abs().max() <= 0.1 + 1e-7
    assert move.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.02)


def test_epsilon_per_image():
    x = pictures(3)
    region = Linf(torch.tensor([0.0, 0.1, 0.2])).around(x)
    moved = (region.project_(torch.ones_like(x)) - x).amax((1, 2, 3))
    torch.testing.assert_close(moved, torch.tensor([0.0, 0.1, 0.2], dtype=x.dtype))
    assert Linf(torch.tensor([0.0, 0.1, 0.2])).rows(slice(1, 3)).eps.tolist() == pytest.approx([0.1, 0.2])


def test_intensity_by_hand():
    """An image of 0.75 is 0.5 in [-1,1]: intensity 0.04 moves it by 0.02 there, which is 0.01 in [0,1]."""
    x = torch.full((1, 3, 4, 4), 0.75)
    assert Intensity(0.04).radius(x).item() == pytest.approx(0.01)
    assert Intensity(0.04, "[0,1]").radius(x).item() == pytest.approx(0.03)
    assert intensity_of(x, x + 0.01).item() == pytest.approx(0.04, rel=1e-5)
    assert Intensity(0.04, norm="l2").around(x).radius.item() == pytest.approx(0.01 * 48**0.5)


@pytest.mark.parametrize("intensity", [0.04, 0.5])
def test_noise_has_the_exact_intensity_for_each_image(intensity):
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    found = [noise_of(images, intensity, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    lengths = [part.flatten(1).norm(dim=1) for part in (2 * found[0], 2 * images - 1)]  # in the source's [-1,1]
    torch.testing.assert_close(lengths[0] / lengths[1], torch.full((64,), intensity))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert abs(torch.corrcoef(found[0].flatten(1)).fill_diagonal_(0).mean()) < 0.01


def test_box_corners_have_the_intensity():
    x = 0.3 + 0.4 * pictures()
    region = Intensity(0.04).around(x)
    corner = x + region.radius * torch.randn_like(x).sign()
    torch.testing.assert_close(intensity_of(x, corner), torch.full((12,), 0.04, dtype=x.dtype))


def test_rescale_to_intensity():
    x = 0.3 + 0.4 * pictures()
    moved = x + 0.003 * torch.randn_like(x)
    moved[0] = x[0]
    scaled = rescale_to_intensity(x, moved, 0.04)
    torch.testing.assert_close(intensity_of(x, scaled)[1:], torch.full((11,), 0.04, dtype=x.dtype))
    assert torch.equal(scaled[0], x[0])
    bright = torch.ones_like(x)
    assert rescale_to_intensity(bright, bright + torch.rand_like(x), Intensity(0.04)).max() <= 1


@pytest.mark.parametrize(("text", "value"), [("8/255", 8 / 255), ("0.007", 0.007), (" 1e-2 ", 0.01), (0.5, 0.5)])
def test_sizes_are_read(text, value):
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("size", ["eight", "8/0", -0.1, float("nan"), "-1", torch.tensor([0.1, -0.1])])
def test_bad_sizes_are_told(size):
    with pytest.raises(WorkbookError):
        number(size)


def test_bad_budgets_are_told():
    x = pictures(3)
    with pytest.raises(WorkbookError, match="3 images, but 2 sizes"):
        Linf(torch.tensor([0.1, 0.2])).around(x)
    with pytest.raises(WorkbookError, match="not '0..255'"):
        Intensity(0.04, "0..255").around(x)
    with pytest.raises(WorkbookError, match="norm"):
        Intensity(0.04, norm="l1").around(x)


def test_names_read_as_in_the_source():
    assert [str(Linf("8/255")), str(L2(1.0))] == ["L-inf 8/255", "L2 1.0"]
    assert str(Intensity(0.04)) == "intensity 0.04 of [-1,1]"
