"""What page 16 judges: its claims' numbers from drawn errors, the released metric on its own printed table, a grid."""

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.evaluation.corruption_error import mean_corruption_error, relative_mean_corruption_error
from lib.evaluation.effects import rank_correlation
from lib.papers import table
from lib.studies.robust_ssl.corruption_tables import (
    Errors,
    formula_relative,
    ranked_alike,
    share_kept,
    subtracted,
)
from lib.studies.robust_ssl.families import METHODS
from lib.studies.robust_ssl.released_slips import (
    SUPERVISED_ACCURACY,
    repository_mce,
    repository_relative_mce,
    repository_relative_mce_supervised,
)
from lib.studies.robust_ssl.study import SIZES
from lib.transforms.corruptions import COMMON, EXTRA
from lib.transforms.distortions import MAGNITUDE

# Of the study's sizes those that page 16 needs: it looks at encoders of objects alone.
USED = (
    *("side", "learn", "held", "test", "width", "stem", "hidden", "dim", "prototypes", "queue", "momentum"),
    *("small_crops", "batch", "steps", "tune_steps", "rates", "probe_steps", "seeds"),
)
CORRUPTION_SIZES = {name: SIZES[name] for name in USED}

# The printed table's name of each network of ours that it has; its vision transformer has no counterpart here.
PRINTED_AS = {
    "Barlow Twins": "Barlow Twins",
    "BYOL": "BYOL",
    "SimCLR": "SimCLR",
    "SimSiam": "SimSiam",
    "SwAV": "SwAV",
    "DINO": "DINO RN50",
    "supervised": "supervised",
}
SHARED = tuple(name for name in PRINTED_AS if name in METHODS)  # the six families that both have
ALL = COMMON + EXTRA


def printed_errors(*rows: str) -> Tensor:
    """Printed errors (rows, 19) in per cent, means over severities, corruptions in the book's order."""
    return torch.tensor(table("robust_ssl", "ImageNet-C").loc[list(rows), list(ALL)].to_numpy(dtype=float))


def five_times(means: Tensor) -> Tensor:
    """A table (C, 5) whose severities all have the mean (C,): all that sums over severities need."""
    return means[:, None].expand(-1, 5)


def released_metric() -> pd.DataFrame:
    """The printed methods: what the result files hold, the released metric written anew, and the formulas.

    The formulas take the supervised network, of clean error 100 - 76.13, for reference; 1 is as bad as that.
    """
    printed, held = table("robust_ssl", "ImageNet-C"), table("robust_ssl", "ImageNet-C metric").loc["relative mCE"]
    reference = five_times(printed_errors("supervised")[0])
    rows = []
    for name in printed.index:
        errors, clean = five_times(printed_errors(name)[0]), printed.loc[name, "clean"]
        anew = repository_relative_mce_supervised(errors) if name == "supervised" else None
        relative = relative_mean_corruption_error(errors, clean, reference, 100 - SUPERVISED_ACCURACY)
        rows.append(
            {
                "network": name,
                "clean error": clean,
                "'mCE' of the files": repository_mce(errors),
                "mCE": mean_corruption_error(errors, reference),
                "relative, in the files": held.get(name, float("nan")),
                "relative, written anew": anew or repository_relative_mce(errors, clean),
                "relative mCE": relative,
            }
        )
    return pd.DataFrame(rows)


def slips_gap(metric: pd.DataFrame) -> float:
    """The largest gap between the files' relative errors and ours written anew, in points."""
    return float((metric["relative, written anew"] - metric["relative, in the files"]).abs().max())


def metrics_agree(errors: Errors) -> Tensor:
    """Rank correlation of the families with the clean error subtracted once and five times, (1 + B,).

    All else is alike, so that only the slip can part them.
    """
    families = errors.of(*METHODS)
    return rank_correlation(subtracted(families, 1), subtracted(families, len(families.strengths)))


def against_supervised(errors: Errors, classes: int) -> Tensor:
    """Share of the accuracy above chance that is kept, mean over the families less supervised, points, (1 + B,)."""
    return share_kept(errors.of(*METHODS), classes).mean(1) - share_kept(errors.of("supervised"), classes)[:, 0]


def untrained_by_formula(errors: Errors) -> Tensor:
    """Relative mCE, supervised reference, of the untrained encoder less the smallest of the families, (1 + B,)."""
    reference = errors.of("supervised")
    families = formula_relative(errors.of(*METHODS), reference)
    return formula_relative(errors.of("untrained"), reference)[:, 0] - families.amin(1)


def unnormalised_cost(errors: Errors, bare: Errors) -> Tensor:
    """Error under corruption of the same families without less with normalisation, points, (1 + B,).

    errors and bare: drawn with one seed on the same pictures, so that they are compared draw by draw.
    """
    return (bare.mean - errors.of(*bare.networks).mean).mean(1)


def printed_kept(name: str) -> float:
    """`share_kept` of a printed network, of a thousand classes."""
    clean = float(table("robust_ssl", "ImageNet-C").loc[name, "clean"])
    return 100 * (99.9 - printed_errors(name).mean().item()) / (99.9 - clean)


def printed_relative(name: str) -> float:
    """Relative mCE of a printed network by the formula, the printed supervised one for reference."""
    return float(released_metric().set_index("network").loc[name, "relative mCE"])


def ungraded(errors: Errors) -> list[str]:
    """Corruptions with a further severity that surely costs the families nothing: the interval of a step is below 0."""
    steps = errors.of(*METHODS).under.mean(1).diff(dim=2)  # (1 + B, C, V - 1)
    high = steps[1:].quantile(0.975, dim=0)
    return [name for name, row in zip(errors.conditions, high, strict=True) if bool((row < 0).any())]


def corruptions_alike(errors: Errors, seed: int = 0) -> Tensor:
    """Rank correlation over corruptions of the six families' mean error, ours and printed, (1 + B,)."""
    ours = errors.of(*SHARED).only(*ALL).under.mean((1, 3))
    theirs = printed_errors(*(PRINTED_AS[name] for name in SHARED)).mean(0)
    return ranked_alike(ours, theirs[None], seed)


def families_alike(errors: Errors) -> Tensor:
    """Rank correlation over the six families of the mean error over all corruptions, ours and printed, (1 + B,)."""
    ours = errors.of(*SHARED).only(*ALL).mean
    theirs = printed_errors(*(PRINTED_AS[name] for name in SHARED)).mean(1)
    return rank_correlation(ours, theirs[None].expand_as(ours))


def saturation_ungraded(errors: Errors) -> Tensor:
    """Accuracy under saturate at severity 3 less at severity 2, mean over the families, (1 + B,)."""
    under = errors.of(*METHODS).only("saturate").under[:, :, 0]
    return (under[..., 1] - under[..., 2]).mean(1)


def left_less_right(errors: Errors) -> Tensor:
    """Accuracy at the benchmark's |c| to the left less to the right, mean over families and backgrounds, (1 + B,)."""
    at = errors.strengths.index(MAGNITUDE)
    sides = [
        errors.of(*METHODS).only(f"{side}, black", f"{side}, padded").under[..., at].mean((1, 2))
        for side in ("left", "right")
    ]
    return sides[1] - sides[0]


def faces_as_objects(errors: Errors, rates: Tensor, seed: int = 0) -> Tensor:
    """Rank correlation over corruptions of the families' mean error and a recogniser's EER (1 + B, C), (1 + B,).

    Both at the highest severity, with the same constants.
    """
    ours = errors.of(*METHODS).only(*ALL).under[..., -1].mean(1)
    return ranked_alike(ours, rates.to(ours), seed)


def small_picture(image: Tensor, side: int) -> list:
    """An image (3, H, W) in [0,1] as whole numbers 0 to 255, (side, side, 3)."""
    found = F.interpolate(image[None], size=(side, side), mode="bilinear", antialias=True, align_corners=False)[0]
    return (found.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).tolist()


def explorer_grid(errors: Errors, rates: tuple[Tensor, Tensor], pictures: dict[str, Tensor]) -> dict[str, object]:
    """What the page's knobs draw from: accuracies (C, 6) from clean on, EER (C, 1 + V), and two small pictures.

    rates: of `drawn_eer`. pictures: "object" and "face", (3, H, W) in [0,1].
    """
    families = errors.of(*METHODS).only(*ALL)
    found: dict[str, object] = {"corruption": list(ALL)}
    for name, part in (("families", families), ("supervised", errors.of("supervised").only(*ALL))):
        whole = torch.cat([part.clean[0].mean().expand(len(ALL), 1), part.under[0].mean(0)], 1)
        found[name] = (100 - whole).tolist()
    clean, under = rates
    found["EER"] = torch.cat([clean[0].expand(len(ALL), 1), under[0]], 1).tolist()
    return found | {name: small_picture(image, {"object": 32, "face": 64}[name]) for name, image in pictures.items()}
