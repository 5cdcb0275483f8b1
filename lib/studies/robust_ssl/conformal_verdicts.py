"""What page 17's claims are judged by: gains, costs and shares won back, from the rights of each kind of views."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lib.errors import WorkbookError
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images
from lib.interval import Interval
from lib.studies.robust_ssl.conformal_page import Found

Judged = Mapping[tuple[str, str], Found]
SOURCE_ARMS = {"SimCLR": "released", "DINO": "moebius"}  # whose p, |c|, d and place are those of the method's own file


def clean(found: Found) -> Tensor:
    """Accuracy in points of each image as it is, (seeds, n)."""
    return 100 * found["clean"]


def distorted(found: Found) -> Tensor:
    """Accuracy in points of each image over all eight subsets, (seeds, n)."""
    return 50 * (found["black"] + found["padded"])


def tilted(found: Found) -> Tensor:
    """Accuracy in points of each image over the eight tilts, (seeds, n)."""
    return 50 * (found["tilted, black"] + found["tilted, padded"])


def mean_gap(judged: Judged, one: str, other: str, read: Callable[[Found], Tensor] = distorted) -> Tensor:
    """What `read` gives with the views `one` less with `other`, (seeds, n), mean over the methods that have both."""
    methods = [method for method, name in judged if name == one and (method, other) in judged]
    if not methods:
        raise WorkbookError(f"No method was judged with both {one} and {other} views: judge one first.")
    gaps = [read(judged[method, one]) - read(judged[method, other]) for method in methods]
    return torch.stack(gaps).mean(0)


def source_gaps(judged: Judged, read: Callable[[Found], Tensor] = distorted) -> dict[str, Tensor]:
    """By method, what `read` gives with the release's own Moebius views less with standard views, (seeds, n)."""
    return {method: read(judged[method, arm]) - read(judged[method, "standard"]) for method, arm in SOURCE_ARMS.items()}


def distortion_costs(judged: Judged, read: Callable[[Found], Tensor] = distorted) -> dict[str, Tensor]:
    """By method, the points that standard views lose from clean pictures to those of `read`, (seeds, n)."""
    standard = {method: judged[method, "standard"] for method in SOURCE_ARMS}
    return {method: clean(found) - read(found) for method, found in standard.items()}


def least_of(values: Mapping[str, Tensor], seed: int = 0) -> Interval:
    """The smallest of the methods' means of values (seeds, n), trainings and images drawn."""
    return bootstrap_seeds_and_images(lambda *parts: min(part.mean() for part in parts), *values.values(), seed=seed)


def farthest_of(values: Mapping[str, Tensor], seed: int = 0) -> Interval:
    """The mean farthest from 0 among the methods', trainings and images drawn: near 0 only if all are."""
    return bootstrap_seeds_and_images(
        lambda *parts: max((part.mean() for part in parts), key=abs), *values.values(), seed=seed
    )


def beyond_half(judged: Judged) -> dict[str, Tensor]:
    """By method, what the release's Moebius views gain under distortion less half of what it costs, (seeds, n)."""
    lost = distortion_costs(judged)
    return {method: gap - lost[method] / 2 for method, gap in source_gaps(judged).items()}


def won_back(judged: Judged, read: Callable[[Found], Tensor] = distorted, seed: int = 0) -> Interval:
    """Per cent of what the distortion of `read` costs that Moebius views win back, over both methods."""
    return bootstrap_seeds_and_images(_share, *_gain_and_cost(judged, read), seed=seed)


def less_won_back_under_tilt(judged: Judged, seed: int = 0) -> Interval:
    """Per cent that Moebius views win back under Moebius's distortion less under tilts, over both methods.

    Shares, since a tilt that costs less leaves less to gain.
    """
    return bootstrap_seeds_and_images(
        lambda gain, cost, tilt_gain, tilt_cost: _share(gain, cost) - _share(tilt_gain, tilt_cost),
        *_gain_and_cost(judged, distorted),
        *_gain_and_cost(judged, tilted),
        seed=seed,
    )


def _gain_and_cost(judged: Judged, read: Callable[[Found], Tensor]) -> tuple[Tensor, Tensor]:
    return mean_gap(judged, "moebius", "standard", read), torch.stack(
        list(distortion_costs(judged, read).values())
    ).mean(0)


def _share(gain: Tensor, cost: Tensor) -> float:
    return float(100 * gain.mean() / cost.mean()) if cost.mean() != 0 else float("nan")


def by_probe_alone(probed: Found, base: Found, views: Found) -> Tensor:
    """What a probe fitted on distorted pictures gains under distortion less half the gain of `views`, (seeds, n)."""
    return distorted(probed) - distorted(base) - (distorted(views) - distorted(base)) / 2


def only_if(known: bool, found: Interval | None, why: str, note: str = "") -> tuple[Interval | None, str]:
    """What `run.claim` takes: the interval and the note, or where the claim cannot be asked none, and why."""
    return (found, note) if known else (None, why)
