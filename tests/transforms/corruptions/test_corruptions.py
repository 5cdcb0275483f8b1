"""Every corruption against the published code with the same random numbers, and against imagecorruptions-imaug."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lib.errors import WorkbookError
from lib.transforms.corruptions import (
    COMMON,
    CORRUPTIONS,
    EXTRA,
    FAMILIES,
    SEVERITIES,
    blur,
    corrupt,
    digital,
    severity_of,
    spatter,
    weather,
)
from lib.transforms.corruptions.crystals import frost_pictures
from lib.transforms.corruptions.filters import along, enlarge, gaussian, uniform
from tests.transforms.corruptions import reference

THEIR_NAMES = {
    "defocus": "defocus_blur", "zoom": "zoom_blur", "jpeg": "jpeg_compression", "gaussian_blur": "gaussian_blur",
    "brightness": "brightness", "contrast": "contrast", "saturate": "saturate", "pixelate": "pixelate",
}  # fmt: skip
RANDOM = {
    "gaussian_noise": "gaussian_noise", "shot": "shot_noise", "impulse": "impulse_noise", "speckle": "speckle_noise",
    "glass": "glass_blur", "motion": "motion_blur", "snow": "snow", "fog": "fog", "elastic": "elastic_transform",
    "spatter": "spatter",
}  # fmt: skip
EVERY = [(side, severity) for side in (32, 64) for severity in (1, 2, 3, 4, 5)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(n, side, seed=0):
    """Smooth colour pictures in whole steps of 1/255."""
    coarse = torch.rand(n, 3, side // 4, side // 4, generator=generator(seed))
    fine = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic")
    return (fine.clamp(0, 1) * 255).round() / 255


def to_numpy(x):
    return x.double().permute(0, 2, 3, 1).numpy()


def apart(ours, theirs):
    """Largest difference of a batch and a list of pictures (H, W, 3), in levels of 255."""
    return 255 * np.abs(to_numpy(ours) - np.stack(theirs)).max()


def test_the_register_holds_nineteen_in_five_severities():
    assert len(COMMON) == 15
    assert len(EXTRA) == 4
    assert sum(FAMILIES.values(), ()) == COMMON
    for table in SEVERITIES.values():
        assert set(table) == set(CORRUPTIONS) == set(COMMON + EXTRA)
        assert all(len(constants) == 5 for constants in table.values())


@pytest.mark.parametrize("name", COMMON + EXTRA)
@pytest.mark.parametrize("side", [32, 64])
def test_the_generator_alone_decides_and_pixels_stay_bytes(name, side):
    x = pictures(3, side)
    torch.manual_seed(1)
    one = corrupt(x, name, 3, generator(5))
    torch.manual_seed(2)
    assert torch.equal(one, corrupt(x, name, 3, generator(5)))
    assert one.shape == x.shape
    levels = one * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    assert 0 <= one.min() <= one.max() <= 1
    assert not torch.equal(one, x)
    if name in RANDOM or name == "frost":
        assert not torch.equal(one, corrupt(x, name, 3, generator(6)))


@pytest.mark.parametrize("name", ["gaussian_noise", "shot", "impulse", "speckle", "contrast", "jpeg", "zoom"])
@pytest.mark.parametrize("side", [32, 64])
def test_a_higher_severity_moves_pixels_further(name, side):
    x = pictures(8, side)
    moved = [(corrupt(x, name, severity, generator()) - x).square().mean() for severity in range(1, 6)]
    assert all(low < high for low, high in zip(moved, moved[1:], strict=False))


@pytest.mark.parametrize("name", THEIR_NAMES)
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_without_chance_ours_is_imaugs(name, severity):
    """With ImageNet's constants, to one level of 255."""
    theirs = pytest.importorskip("imagecorruptions")
    x = pictures(3, 64)
    found = corrupt(x, name, severity, generator(), side=224)
    wanted = [
        theirs.corrupt((picture * 255).round().astype(np.uint8), severity, THEIR_NAMES[name]) / 255
        for picture in to_numpy(x)
    ]
    assert apart(found, wanted) < 1.001


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("severity", [1, 5])
def test_with_chance_ours_is_distributed_as_imaugs(name, severity):
    """Mean and spread over pictures, with ImageNet's constants."""
    theirs = pytest.importorskip("imagecorruptions")
    np.random.seed(0)
    x = pictures(24, 64)
    found = to_numpy(corrupt(x, name, severity, generator(), side=224))
    wanted = np.stack(
        [
            theirs.corrupt((picture * 255).round().astype(np.uint8), severity, RANDOM[name]) / 255
            for picture in to_numpy(x)
        ]
    )
    for statistic in (np.mean, np.std):
        one, other = (statistic(side, axis=(1, 2, 3)) for side in (found, wanted))
        error = np.hypot(one.std(), other.std()) / np.sqrt(len(x))
        assert abs(one.mean() - other.mean()) < 4 * error + 0.004


@pytest.mark.parametrize("quality", [80, 50, 25, 7])
@pytest.mark.parametrize("shape", [(32, 32), (48, 40)])
def test_jpeg_is_pillows(quality, shape):
    x = (torch.rand(2, 3, *shape, generator=generator()) * 255).round() / 255
    wanted = []
    for picture in to_numpy(x):
        file = io.BytesIO()
        Image.fromarray((picture * 255).round().astype(np.uint8)).save(file, "JPEG", quality=quality)
        wanted.append(np.array(Image.open(file)) / 255)
    found = digital.jpeg(x, quality, generator())
    assert apart(found, wanted) < 1.001
    assert (np.abs(to_numpy(found) - np.stack(wanted)) > 1e-6).mean() < 0.002


@pytest.mark.parametrize(("side", "severity"), EVERY)
def test_pixels_are_pillows(side, severity):
    x = pictures(2, side)
    small = int(side * SEVERITIES[side]["pixelate"][severity - 1])
    wanted = []
    for picture in to_numpy(x):
        image = Image.fromarray((picture * 255).round().astype(np.uint8))
        image = image.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BOX)
        wanted.append(np.array(image) / 255)
    assert apart(corrupt(x, "pixelate", severity, generator()), wanted) < 1.001


@pytest.mark.parametrize(("side", "severity"), EVERY)
def test_gaussian_blur_is_scipys(side, severity):
    x, sigma = pictures(2, side), SEVERITIES[side]["gaussian_blur"][severity - 1]
    assert apart(gaussian(x.double(), sigma), [reference.blurred(picture, sigma) for picture in to_numpy(x)]) < 1e-9


@pytest.mark.parametrize(("side", "severity"), EVERY)
def test_glass_copies_as_the_published_loop_does(side, severity):
    """With the same displacements, byte by byte."""
    sigma, reach, times = SEVERITIES[side]["glass"][severity - 1]
    x = pictures(2, side)
    wanted, draws = [], generator(3)
    moves = [blur.displacements(2, side, side, reach, draws).numpy() for _ in range(times)]
    for row, picture in enumerate(to_numpy(x)):
        levels = np.floor(reference.blurred(picture, sigma) * 255 + 1e-3).astype(np.uint8)
        for turn in range(times):
            levels = reference.shuffled(levels, moves[turn][row], reach)
        wanted.append(reference.blurred(levels / 255, sigma))
    assert apart(blur.glass(x.double(), (sigma, reach, times), generator(3)), wanted) < 1e-6


def test_the_published_swap_loses_pixels():
    """A true swap keeps every value; the published one doubles some and loses others."""
    before = np.arange(36, dtype=np.uint8).reshape(6, 6, 1)
    moves = blur.displacements(1, 6, 6, 1, generator())[0].numpy()
    after = reference.shuffled(before.copy(), moves, 1)
    assert len(np.unique(after)) < 36
    one = blur.sources(torch.as_tensor(moves)[None], 1)[0].view(6, 6).numpy()
    assert (before.ravel()[one] == after[..., 0]).all()


@pytest.mark.parametrize("reach", [2, 4])
def test_chains_of_copies_are_followed(reach):
    moves = blur.displacements(1, 20, 24, reach, generator())
    before = np.arange(480, dtype=np.uint16).reshape(20, 24, 1)
    wanted = reference.shuffled(before.copy(), moves[0].numpy(), reach)[..., 0]
    assert (blur.sources(moves, reach)[0].view(20, 24).numpy() == wanted).all()


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1), (9, 2.5), (20, 15)])
def test_motion_is_the_sum_of_shifted_copies(radius, sigma):
    x, angles = pictures(4, 32).double(), torch.tensor([-44.0, 0.0, 13.7, -120.0])
    found = along(x, radius, sigma, angles)
    for row, angle in enumerate(angles.tolist()):
        for channel in range(3):
            wanted = reference.motion(x[row, channel].numpy(), radius, sigma, angle)
            assert np.abs(found[row, channel].numpy() - wanted).max() < 1e-9


@pytest.mark.parametrize("factor", [1, 1.03, 1.25, 1.75, 2.25, 4.5])
def test_enlarging_is_scipys(factor):
    x = pictures(1, 32).double()
    wanted = reference.clipped_zoom(x[0, 0].numpy(), factor)
    assert np.abs(enlarge(x, factor)[0, 0].numpy() - wanted).max() < 1e-9


def test_the_zooms_are_counted_as_numpy_does():
    counts = {side: [len(np.arange(1, *pair)) for pair in SEVERITIES[side]["zoom"]] for side in (32, 224)}
    assert counts == {32: [7, 12, 16, 21, 26], 224: [12, 16, 11, 13, 11]}


@pytest.mark.parametrize("decay", [3, 1.75])
@pytest.mark.parametrize("side", [32, 64])
def test_clouds_are_the_published_ones(side, decay):
    draws, like = generator(4), torch.zeros(1, dtype=torch.float64)
    found = weather.clouds(1, side, decay, generator(4), like)[0].numpy()

    def draw(low, high, shape):
        return uniform((1, *shape), (low, high), draws, like)[0].numpy()

    assert np.abs(found - reference.plasma(side, decay, draw)).max() < 1e-9


@pytest.mark.parametrize(("side", "severity"), EVERY)
def test_snow_is_the_published_one(side, severity):
    x, constants, draws = pictures(2, side).double(), severity_of("snow", severity, side), generator(2)
    noise = torch.randn(2, 1, side, side, generator=draws).double()
    angles = uniform((2,), (-135, -45), draws, x)
    wanted = [
        reference.snow(picture, constants, noise[row, 0].numpy(), angles[row].item())
        for row, picture in enumerate(to_numpy(x))
    ]
    found = weather.snow(x, constants, generator(2)).clamp(0, 1)
    differences = 255 * np.abs(to_numpy(found) - np.stack(wanted))
    assert (differences > 1e-3).mean() < 0.01  # where a flake's level stands on a half
    assert differences.max() < 2.1


@pytest.mark.parametrize(("side", "severity"), EVERY)
def test_elastic_is_the_published_one(side, severity):
    x, constants, draws = pictures(2, side).double(), severity_of("elastic", severity, side), generator(2)
    reach, sigma, moved = (side * constant for constant in constants)
    corners = np.array([[1, 1], [1, -1], [-1, -1]]) * (side // 3) + side // 2
    targets = corners + uniform((2, 3, 2), (-moved, moved), draws, x).numpy()
    wanted = [reference.affine(picture, targets[row]) for row, picture in enumerate(to_numpy(x))]
    if reach > 0:
        drawn = uniform((2, 2, side, side), (-1, 1), draws, x).numpy()
        smooth = [[reach * reference.blurred(part, sigma, "reflect", 3.0) for part in parts] for parts in drawn]
        wanted = [reference.displaced(picture, *smooth[row]) for row, picture in enumerate(wanted)]
    assert apart(digital.elastic(x, constants, generator(2)), wanted) < 1e-3


@pytest.mark.parametrize("side", [32, 64])
def test_mud_is_the_published_one(side):
    x, constants = pictures(2, side).double(), severity_of("spatter", 4, side)
    noise = torch.randn(2, 1, side, side, generator=generator(2)).double()
    wanted = [reference.mud(picture, constants, noise[row, 0].numpy()) for row, picture in enumerate(to_numpy(x))]
    assert apart(spatter.spatter(x, constants, generator(2)), wanted) < 1e-6


@pytest.mark.parametrize("side", [32, 64])
@pytest.mark.parametrize("severity", [1, 2, 3])
def test_the_rims_of_water_are_opencvs(side, severity):
    """Step by step: edges, distances, even histogram, light."""
    cv2 = pytest.importorskip("cv2")
    mean, spread, sigma, least, _, _ = severity_of("spatter", severity, side)
    noise = torch.randn(4, 1, side, side, generator=generator(severity)).double()
    layer = gaussian(mean + spread * noise, sigma)
    layer = torch.where(layer < least, 0.0, layer).float()
    light = spatter.water(layer)
    for row in range(4):
        levels = (layer[row, 0].double().numpy() * 255 + 1e-3).astype(np.uint8)
        edge = cv2.Canny(levels, 50, 150)
        ours = spatter.edges(torch.as_tensor(levels).float()[None, None])
        assert (ours[0, 0].numpy() == (edge > 0)).all()
        far = np.minimum(cv2.distanceTransform(255 - edge, cv2.DIST_L2, 5), 20)
        assert np.abs(spatter.rim_distance(ours)[0, 0].clamp_max(20).numpy() - far).max() < 1e-3
        near = cv2.equalizeHist(cv2.blur(far, (3, 3)).astype(np.uint8))
        kernel = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
        shade = levels * cv2.blur(cv2.filter2D(near, cv2.CV_8U, kernel), (3, 3)).astype(np.float32)
        assert np.abs(light[row, 0].numpy() - shade / shade.max()).max() < 1e-5


def test_impulse_noise_hits_its_share():
    x = torch.full((4, 3, 64, 64), 0.5)
    found = corrupt(x, "impulse", 5, generator())
    assert (found == 0).float().mean() == pytest.approx(0.07, abs=0.004)
    assert (found == 1).float().mean() == pytest.approx(0.07, abs=0.004)


def test_shot_noise_has_the_variance_of_photons():
    x = torch.full((16, 3, 64, 64), 0.4)
    found = CORRUPTIONS["shot"](x, 50, generator())
    assert found.mean() == pytest.approx(0.4, abs=0.002)
    assert found.var() == pytest.approx(0.4 / 50, rel=0.03)


def test_frost_is_a_piece_of_a_window_like_the_photographs():
    bank = frost_pictures()
    assert bank.shape == (5, 3, 128, 128)
    means = bank.mean((2, 3))
    assert torch.allclose(means[0], torch.tensor([0.30, 0.58, 0.65]), atol=0.02)
    assert torch.allclose(bank.mean(1).flatten(1).std(1), torch.tensor([0.06, 0.07, 0.07, 0.10, 0.14]), atol=0.012)
    dark = torch.zeros(6, 3, 32, 32)
    found = weather.frost(dark, (1, 1.0), generator())
    windows = bank[:, 0].unfold(1, 32, 1).unfold(2, 32, 1)
    for piece in found[:, 0]:
        near = windows[windows[..., 0, 0] == piece[0, 0]]
        assert (near - piece).abs().amax((1, 2)).min() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "rain"}, "no corruption 'rain'"),
        ({"severity": 6}, "1 to 5"),
        ({"side": 48}, "32, 64, 224"),
        ({"x": torch.rand(2, 1, 32, 32)}, "colour images"),
        ({"x": torch.rand(2, 3, 16, 16)}, "32 pixels or more"),
    ],
)
def test_bad_input_is_told(change, words):
    arguments = {"x": torch.rand(2, 3, 32, 32), "name": "fog", "severity": 1, "generator": generator()} | change
    with pytest.raises(WorkbookError, match=words):
        corrupt(**arguments)
