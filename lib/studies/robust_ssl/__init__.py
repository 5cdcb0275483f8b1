"""Robust self-supervised learning, the slides: joint embedding, corruptions, conformal views (pages 15 to 19).

The one door of the pages: `study_for(run)` gives the trainings, all else works on what it gives.
"""

from lib.studies.robust_ssl.circle import (
    POINTS,
    CircleNetwork,
    Turned,
    move,
    on_circle,
    resultant,
)
from lib.studies.robust_ssl.data import (
    EXPRESSIONS,
    Faces,
    Labelled,
)
from lib.studies.robust_ssl.families import (
    FAMILIES,
    METHODS,
    REMOVALS,
    Family,
    Settings,
    family,
)
from lib.studies.robust_ssl.joint_embedding_page import (
    against_lightly,
    case_table,
    circle_grid,
    collapse_outputs,
    domain_rights,
    earned,
    healthier,
    kept_without,
    least_gain,
    missed_by_spread,
    rank_share,
    rights,
    sensitivity,
    spread_of,
)
from lib.studies.robust_ssl.networks import (
    Encoder,
    JointEmbedding,
    Sizes,
)
from lib.studies.robust_ssl.probes import (
    LinearProbe,
    ProbeRecipe,
    features_of,
    fit_probe,
    judged,
    nearest_neighbours,
    probe_from,
)
from lib.studies.robust_ssl.study import (
    CONFORMAL,
    DOMAINS,
    SIZES,
    SSLStudy,
    study_for,
)
from lib.studies.robust_ssl.training import (
    CollapseWatch,
    Plan,
    ViewsClassified,
)
from lib.studies.robust_ssl.views import (
    LEFT_OUT,
    STANDARD,
    left_out,
    small_crops,
)

__all__ = [
    "CONFORMAL",
    "CircleNetwork",
    "CollapseWatch",
    "DOMAINS",
    "EXPRESSIONS",
    "Encoder",
    "FAMILIES",
    "Faces",
    "Family",
    "JointEmbedding",
    "LEFT_OUT",
    "Labelled",
    "LinearProbe",
    "METHODS",
    "POINTS",
    "Plan",
    "ProbeRecipe",
    "REMOVALS",
    "SIZES",
    "SSLStudy",
    "STANDARD",
    "Settings",
    "Sizes",
    "Turned",
    "ViewsClassified",
    "against_lightly",
    "case_table",
    "circle_grid",
    "collapse_outputs",
    "domain_rights",
    "earned",
    "family",
    "features_of",
    "fit_probe",
    "healthier",
    "judged",
    "kept_without",
    "least_gain",
    "left_out",
    "missed_by_spread",
    "move",
    "nearest_neighbours",
    "on_circle",
    "probe_from",
    "rank_share",
    "resultant",
    "rights",
    "sensitivity",
    "small_crops",
    "spread_of",
    "study_for",
]
