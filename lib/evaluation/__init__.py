"""How models are judged: verification, classification, confidence intervals, and the honesty checks of a defence."""

from lib.evaluation.intervals import (
    bootstrap,
    mean_interval,
    newcombe,
    pair_bootstrap,
    pair_difference,
    rate_difference,
    std_interval,
    wilson,
)
from lib.evaluation.verification import (
    auc,
    eer,
    error_at_threshold,
    one_minus_eer,
    roc,
    tar_at_far,
    ten_fold_accuracy,
    worst_scores,
)
from lib.interval import Interval

__all__ = [
    "Interval",
    "auc",
    "bootstrap",
    "eer",
    "error_at_threshold",
    "mean_interval",
    "newcombe",
    "one_minus_eer",
    "pair_bootstrap",
    "pair_difference",
    "rate_difference",
    "roc",
    "std_interval",
    "tar_at_far",
    "ten_fold_accuracy",
    "wilson",
    "worst_scores",
]
