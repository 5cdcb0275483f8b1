"""The slips give the repository's own numbers, and differ from what was meant."""

import pytest
import torch

from lib.errors import WorkbookError
from lib.evaluation.corruption_error import mean_corruption_error, relative_mean_corruption_error
from lib.papers import table
from lib.studies.robust_ssl import view_settings
from lib.studies.robust_ssl.released_slips import (
    SUPERVISED_ACCURACY,
    chained_in_place,
    clamped_as_pixels,
    forward_splat,
    repository_mce,
    repository_relative_mce,
    repository_relative_mce_supervised,
)
from lib.transforms.conformal import Moebius, plane, warp
from lib.transforms.conformal_views import ConformalViews
from lib.transforms.corruptions import COMMON, EXTRA

# "RmCE" of the repository's result files, per cent.
RELATIVE = {"Barlow Twins": 74.6596, "BYOL": 74.6235, "SimCLR": 75.9838, "SimSiam": 76.0418, "SwAV": 70.7157}
PRINTED = table("robust_ssl", "ImageNet-C")
NAMES = [name for name in PRINTED.columns if name not in ("clean", "mean")]


def errors_of(method):
    """(19, 5): the mean over the severities five times, all that is printed and all that sums need."""
    return torch.tensor(PRINTED.loc[method, NAMES].to_numpy(dtype=float))[:, None].expand(-1, 5)


def smooth(side=65):
    coarse = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)


def test_the_book_names_corruptions_as_the_table_does():
    assert set(NAMES) == set(COMMON + EXTRA)


@pytest.mark.parametrize("method", PRINTED.index)
def test_the_repositorys_mce_is_a_mean(method):
    assert repository_mce(errors_of(method)) == pytest.approx(PRINTED.loc[method, "mean"], abs=0.06)


@pytest.mark.parametrize("method", RELATIVE)
def test_its_relative_mce_follows_from_one_subtraction(method):
    found = repository_relative_mce(errors_of(method), PRINTED.loc[method, "clean"])
    assert found == pytest.approx(RELATIVE[method], abs=0.1)


def test_the_supervised_one_follows_from_an_accuracy():
    supervised = next(name for name in PRINTED.index if "upervised" in name)
    assert repository_relative_mce_supervised(errors_of(supervised)) == pytest.approx(42.1297, abs=0.1)
    right = repository_relative_mce(errors_of(supervised), 100 - SUPERVISED_ACCURACY)
    assert right > 53  # eleven points more than printed


def test_the_formula_gives_other_numbers_and_refuses_the_accuracy():
    supervised = next(name for name in PRINTED.index if "upervised" in name)
    reference, clean = errors_of(supervised), 100 - SUPERVISED_ACCURACY
    for method in RELATIVE:
        mce = mean_corruption_error(errors_of(method), reference)
        relative = relative_mean_corruption_error(errors_of(method), PRINTED.loc[method, "clean"], reference, clean)
        assert 1.2 < mce < 1.6
        assert relative > 1.2  # what corruption adds, against what it adds to the supervised net
    with pytest.raises(WorkbookError, match="accuracies"):
        relative_mean_corruption_error(reference, SUPERVISED_ACCURACY, reference, SUPERVISED_ACCURACY)


def test_clamping_coordinates_as_pixels_destroys_the_picture():
    x, c = smooth(), torch.tensor([0.3, -0.3, 0.3j, -0.3j])
    meant = warp(x, Moebius(c)(plane(65, 65)), "padded")
    broken = clamped_as_pixels(x, c)
    # at most the first 1 / (65 - 1) of each side is read: one pixel of the corner
    corner = x[:, :, :4, :4]
    assert (broken <= corner.amax((2, 3), keepdim=True) + 1e-5).all()
    assert (broken >= corner.amin((2, 3), keepdim=True) - 1e-5).all()
    assert broken.std((2, 3)).mean() < 0.2 * meant.std((2, 3)).mean()


def test_putting_with_c_is_reading_with_minus_c():
    x, c = smooth(129), torch.tensor([0.2, -0.2, 0.2j, -0.2j])
    put = forward_splat(x, c)
    filled = (put != 0).any(1, keepdim=True)
    gaps = []
    for sign in (1, -1):
        read = warp(x, Moebius(sign * c)(plane(129, 129)))
        gaps.append((((put - read).abs() * filled).sum() / filled.sum() / 3).item())
    assert gaps[1] < 0.02
    assert gaps[0] > 5 * gaps[1]
    read = warp(torch.ones_like(x), Moebius(-c)(plane(129, 129)))[:, :1] > 0.5
    assert (read & ~filled).float().mean() > 0.02  # the holes of the figure's algorithm


def test_the_settings_are_the_files():
    settings = (view_settings.LIBRARY, view_settings.SUPERVISED, view_settings.SIMCLR_PRETRAINING, view_settings.DINO)
    assert [(one.p, one.magnitude, one.d) for one in settings] == [
        (1.0, (0.1, 0.3), 1.0),
        (0.2, (0.2, 0.3), 1.0),
        (0.8, (0.2, 0.4), 0.75),
        (0.8, (0.1, 0.3), 1.0),
    ]
    assert isinstance(view_settings.SIMCLR_LINEAR, ConformalViews)


def test_a_chain_in_place_spoils_the_denominator():
    z = plane(5, 5)
    a, b, c, d = 2, 0.2, 0.3, 1
    above = a * z + b
    assert torch.allclose(chained_in_place(z, a, b, c, d), above / (c * above + d))
    assert torch.equal(z, plane(5, 5))  # the caller's points stay
    assert not torch.allclose(chained_in_place(z, a, b, c, d), above / (c * z + d), atol=1e-2)
    assert torch.allclose(chained_in_place(z, 1, 0, c, d), Moebius(torch.tensor([c + 0j]))(z)[0])
