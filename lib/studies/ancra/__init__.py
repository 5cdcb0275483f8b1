"""ANCRA: asymmetric negative contrast and reverse attention (pages 12 to 14): the one door its pages import from."""

from lib.studies.ancra.adaptive_attacks import (
    ADAPTIVE,
    STEPPED,
    adaptive_attack,
    adaptive_attacks,
    correct_by_budget,
    correct_under_all,
    gradient_norms,
    official,
    random_search,
)
from lib.studies.ancra.adversarial_training import ANCRATraining, negative_contrast
from lib.studies.ancra.attacks import (
    SOURCE,
    SUMMED,
    agreement,
    correct_by_output,
    features_of,
    source_attacks,
    source_images,
    transfer,
)
from lib.studies.ancra.classifiers import GatedClassifier, hard, soft, with_gates
from lib.studies.ancra.contrast import Predictions, expected_missing, false_positive_shares, gradient_path, missing
from lib.studies.ancra.evaluation import (
    best_and_last,
    first_seed,
    more_torn,
    plane_of,
    pooled_quantile,
    same_less_switched,
)
from lib.studies.ancra.feature_gap import FEATURE_ATTACKS, PLACES, THRESHOLDS, distances, gaps, relative, tail
from lib.studies.ancra.negatives import choose
from lib.studies.ancra.step_costs import step_passes, step_seconds
from lib.studies.ancra.study import BASELINES, METHODS, REACH, SIZES, ANCRAStudy, gates_of, pictures_for
from lib.studies.ancra.training import FAMILIES, Network

__all__ = [
    "ADAPTIVE",
    "ANCRAStudy",
    "ANCRATraining",
    "BASELINES",
    "FAMILIES",
    "FEATURE_ATTACKS",
    "GatedClassifier",
    "METHODS",
    "Network",
    "PLACES",
    "Predictions",
    "REACH",
    "SIZES",
    "SOURCE",
    "STEPPED",
    "SUMMED",
    "THRESHOLDS",
    "adaptive_attack",
    "adaptive_attacks",
    "agreement",
    "best_and_last",
    "choose",
    "correct_by_budget",
    "correct_by_output",
    "correct_under_all",
    "distances",
    "expected_missing",
    "false_positive_shares",
    "features_of",
    "first_seed",
    "gaps",
    "gates_of",
    "gradient_norms",
    "gradient_path",
    "hard",
    "missing",
    "more_torn",
    "negative_contrast",
    "official",
    "pictures_for",
    "plane_of",
    "pooled_quantile",
    "random_search",
    "relative",
    "same_less_switched",
    "soft",
    "source_attacks",
    "source_images",
    "step_passes",
    "step_seconds",
    "tail",
    "transfer",
    "with_gates",
]
