from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as reference

from lib.errors import WorkbookError
from lib.transforms import augmentations
from lib.transforms.augmentations import adjust_hue, crop_to, gaussian_blur, resized_crop
from lib.transforms.views import ACL, FACES, SIMCLR, MultiCrop, Views, random_boxes, uniform

NOTHING = {"crop": (1, 1), "flip": 0, "jitter_p": 0, "gray": 0, "blur": 0}


def only(**settings):
    return Views(**(NOTHING | settings))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, channels=3, height=24, width=20, seed=5):
    x = torch.rand(n, channels, height, width, generator=seeded(seed))
    x[0, :, :4] = x[0, :1, :4]  # pixels without a hue
    x[1, :2, :4] = 1.0  # ties of the largest channel
    return x


@pytest.mark.parametrize(
    ("name", "limits"),
    [("brightness", (0, 2)), ("contrast", (0, 2)), ("saturation", (0, 2)), ("hue", (-0.5, 0.5))],
)
def test_colours_as_in_torchvision_row_by_row(name, limits):
    x, values = images(), uniform(6, limits, seeded())
    found = getattr(augmentations, f"adjust_{name}")(x, values)
    slow = [getattr(reference, f"adjust_{name}")(row, value.item()) for row, value in zip(x, values, strict=True)]
    # torchvision rounds the luma weight of red to 0.2989
    torch.testing.assert_close(found, torch.stack(slow), rtol=0, atol=3e-4 if name != "hue" else 1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_blur_as_in_torchvision_row_by_row(channels):
    x, sigma = images(channels=channels), uniform(6, (0.1, 2), seeded())
    slow = [reference.gaussian_blur(row, [5, 5], [value.item()]) for row, value in zip(x, sigma, strict=True)]
    torch.testing.assert_close(gaussian_blur(x, sigma, 5), torch.stack(slow), rtol=0, atol=1e-5)


def test_crops_are_windows_on_the_enlarged_picture():
    """Enlarged once, twice or four times by torchvision, antialiasing on, and cut at whole pixels."""
    x = images()
    zoom, top, left = (torch.tensor(row) for row in ([1, 2, 4, 2, 4, 4], [0, 3, 5, 0, 18, 0], [0, 2, 0, 10, 15, 7]))
    flip = torch.tensor([False, True, False, False, True, True])
    box = torch.stack([top / 24, left / 20, 1 / zoom, 1 / zoom], dim=1)
    slow = []
    for row, k, i, j, turned in zip(x, zoom, zoom * top, zoom * left, flip, strict=True):
        window = reference.resize(row, [24 * k, 20 * k], antialias=True)[:, i : i + 24, j : j + 20]
        slow.append(window.flip(2) if turned else window)
    torch.testing.assert_close(resized_crop(x, box, flip), torch.stack(slow), rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.5, 0.5))
def test_a_hue_turned_back_is_the_old_one(seed, shift):
    x, shift = torch.rand(2, 3, 4, 4, generator=seeded(seed)), torch.full((2,), shift)
    torch.testing.assert_close(adjust_hue(adjust_hue(x, shift), -shift), x, rtol=0, atol=1e-5)


def test_boxes_have_the_area_and_ratio_asked_for_or_are_the_whole_picture():
    box = random_boxes(500, 30, 20, (0.2, 0.8), (3 / 4, 4 / 3), seeded())
    top, left, height, width = box.unbind(1)
    whole = (height == 1) & (width == 1)
    assert whole.float().mean() < 0.01
    area, ratio = (height * width)[~whole], (20 * width / (30 * height))[~whole]
    assert (area >= 0.2 - 1e-6).all()
    assert (area <= 0.8 + 1e-6).all()
    assert ratio.log().abs().max() <= torch.tensor(4 / 3).log() + 1e-5
    assert min(top.min(), left.min()) >= 0
    assert max((top + height).max(), (left + width).max()) <= 1 + 1e-6
    assert area.min() < 0.25
    assert ratio.std() > 0.1
    assert (random_boxes(9, 30, 20, (1, 1), (3 / 4, 4 / 3), seeded()) == torch.tensor([0.0, 0, 1, 1])).all()


def test_settings_of_nothing_give_the_input_back():
    x = images()
    assert torch.equal(only()(x, seeded()), x)
    torch.testing.assert_close(only(crop=(1, 1), flip=1)(x, seeded()), x.flip(3), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name", [{"crop": (0.2, 0.9)}, {"flip": 0.5}, {"jitter_p": 0.5}, {"gray": 0.5}, {"blur": 0.5, "sigma": (1, 2)}]
)
def test_each_step_alone_changes_rows_differently(name):
    x = images()[1:2].expand(64, -1, -1, -1)
    view = only(**name)(x, seeded())
    changed = ((view - x).abs().amax((1, 2, 3)) > 1e-4).float().mean()
    assert changed == 1 if "crop" in name else 0.25 < changed < 0.75
    different = len({tuple(row.tolist()) for row in view[:, 0, 12, 3:9].mul(1e4).round()})
    assert different == 2 if "gray" in name or "flip" in name else different > 20


def test_jitter_draws_one_factor_per_row_in_its_range():
    x = images().clamp(0.1, 0.6)
    factor = only(jitter=(0.4, 0, 0, 0), jitter_p=1)(x, seeded()) / x
    torch.testing.assert_close(factor, factor[:, :1, :1, :1].expand_as(factor))
    values = factor[:, 0, 0, 0]
    assert len(values.unique()) == 6
    assert ((values - 1).abs() <= 0.4).all()
    assert only(jitter=(3.0, 0, 0, 0), jitter_p=1)(x, seeded()).min() >= 0  # no negative factors


def test_gray_and_blur_are_those_of_torchvision():
    x = images()
    gray = reference.rgb_to_grayscale(x, num_output_channels=3)
    torch.testing.assert_close(only(gray=1)(x, seeded()), gray, rtol=0, atol=2e-4)
    large = torch.rand(2, 3, 56, 56, generator=seeded())
    blurred = only(blur=1, sigma=(1.5, 1.5))(large, seeded())
    torch.testing.assert_close(blurred, reference.gaussian_blur(large, [7, 7], [1.5, 1.5]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("views", [SIMCLR, ACL, FACES], ids=["simclr", "acl", "faces"])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_keep_shape_and_range_and_follow_the_seed(views, channels):
    x = images(32, channels)
    x[3], x[4] = 0, 1
    kept = x.clone()
    first, again, other = (views(x, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(x, kept)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert first.min() >= 0
    assert first.max() <= 1


def test_a_view_depends_on_its_own_row_alone():
    x, y = images(8), images(8, seed=9)
    y[5] = x[5]
    torch.testing.assert_close(SIMCLR(x, seeded())[5], SIMCLR(y, seeded())[5])


def test_mixed_precision_does_not_round_the_pixels():
    x = images()
    with torch.autocast("cpu", torch.bfloat16):
        found = SIMCLR(x, seeded())
    assert torch.equal(found, SIMCLR(x, seeded()))


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"crop": (0.5, 1.2)}, "crop of views is a range"),
        ({"ratio": (2, 1)}, "ratio of views is a range"),
        ({"sigma": (0, 1)}, "sigma of views is a range"),
        ({"blur": 1.5}, "blur of views is a probability, not 1.5"),
        ({"jitter": (0.4, 0.4, 0.4, 0.6)}, "hue to 0.5"),
    ],
)
def test_bad_settings(bad, sentence):
    with pytest.raises(WorkbookError, match=sentence):
        Views(**bad)


@pytest.mark.parametrize("x", [torch.rand(3, 8, 8), torch.rand(2, 4, 8, 8), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)])
def test_bad_images(x):
    with pytest.raises(WorkbookError, match="Views take float images"):
        SIMCLR(x, seeded())


def test_smaller_crops_are_windows_on_the_reduced_picture():
    """Brought to a quarter ... four times its size by torchvision, antialiasing on, and cut at whole pixels."""
    x = images()
    places = ([0.5, 0.25, 0.5, 1, 2, 4], [0, 1, 7, 20, 18, 91], [0, 0, 5, 3, 35, 0])
    zoom, top, left = (torch.tensor(row) for row in places)
    flip = torch.tensor([False, True, False, True, False, True])
    sides = torch.stack([24 * zoom, 20 * zoom], dim=1)
    box = torch.cat([torch.stack([top, left], dim=1) / sides, 4 / sides], dim=1)
    slow = []
    for row, k, i, j, turned in zip(x, zoom.tolist(), top, left, flip, strict=True):
        window = reference.resize(row, [int(24 * k), int(20 * k)], antialias=True)[:, i : i + 4, j : j + 4]
        slow.append(window.flip(2) if turned else window)
    torch.testing.assert_close(crop_to(x, box, flip, 4), torch.stack(slow), rtol=0, atol=1e-5)


def test_crops_to_a_size_and_back_to_the_picture_s_agree():
    x = images(height=20)
    box = random_boxes(6, 20, 20, (0.1, 0.9), (3 / 4, 4 / 3), seeded())
    flip = torch.arange(6) % 2 == 0
    torch.testing.assert_close(crop_to(x, box, flip, 20), resized_crop(x, box, flip), rtol=0, atol=1e-5)
    torch.testing.assert_close(only(crop=(0.3, 1), size=20)(x, seeded()), only(crop=(0.3, 1))(x, seeded()))


def test_a_size_alone_reduces_the_whole_picture():
    x = images()
    wanted = reference.resize(x, [7, 7], antialias=True)
    torch.testing.assert_close(only(size=7)(x, seeded()), wanted, rtol=0, atol=1e-5)


def test_multi_crop_gives_each_view_its_size_number_and_own_draws():
    x = images(8)
    crops = MultiCrop(((2, SIMCLR), (4, replace(SIMCLR, crop=(0.05, 0.3), size=12)), (1, only(size=5))))
    views = crops(x, seeded())
    assert [tuple(view.shape) for view in views] == [(8, 3, 24, 20)] * 2 + [(8, 3, 12, 12)] * 4 + [(8, 3, 5, 5)]
    assert all(view.min() >= 0 and view.max() <= 1 for view in views)
    assert not torch.equal(views[0], views[1])
    assert not torch.equal(views[2], views[3])
    assert all(torch.equal(a, b) for a, b in zip(views, crops(x, seeded()), strict=True))
    generator = seeded()  # the same as its views one after the other
    assert torch.equal(views[1], [SIMCLR(x, generator) for _ in range(2)][1])
    with pytest.raises(WorkbookError, match="one kind or more, each at least once"):
        MultiCrop(((0, SIMCLR),))
    with pytest.raises(WorkbookError, match="size of views is a number of pixels from 1"):
        Views(size=0)


def test_kornia_gives_the_same_pixels_for_the_same_draws():
    from kornia import enhance, filters

    x, factor = images(), uniform(6, (0.2, 1.8), seeded())
    shift, sigma = factor / 4 - 0.2, factor
    pairs = {
        "brightness": (augmentations.adjust_brightness(x, factor), enhance.adjust_brightness_accumulative(x, factor)),
        "hue": (adjust_hue(x, shift), enhance.adjust_hue(x, 2 * torch.pi * shift)),
        "blur": (gaussian_blur(x, sigma, 5), filters.gaussian_blur2d(x, (5, 5), sigma[:, None].expand(-1, 2))),
    }
    for ours, theirs in pairs.values():
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
