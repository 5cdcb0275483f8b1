"""The book's table of contents: its profiles, and every page, written or planned, with what it reproduces."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lib.errors import WorkbookError, choices
from lib.paths import NOTEBOOKS

PROFILES = ("smoke", "laptop", "gpu", "paper")


@dataclass(frozen=True)
class Page:
    """One notebook of the book."""

    name: str
    source: str
    reproduces: str

    @property
    def number(self) -> str:
        """Two digits, the place in reading order."""
        return self.name[:2]

    @property
    def written(self) -> bool:
        """Whether the notebook is there."""
        return (NOTEBOOKS / f"{self.name}.ipynb").exists()


@dataclass(frozen=True)
class About:
    """What a page's answer box says that no ledger knows; claims and printed numbers are named, not typed.

    headline: ids of `lib/papers/claims.toml`. cells: printed numbers as (source, item, row, column). lesson: one
    sentence to keep. read, run: minutes to read, and to run at the laptop profile on two cores.
    """

    question: str
    tested: str
    headline: list[str]
    lesson: str
    needs: str
    read: int
    run: int
    cells: tuple[tuple[str, str, str, str], ...] = ()


PAGES = [
    Page("00_start_here", "the book", "what the book is, environment and data check, map"),
    Page("01_subspace_noise", "PIN", "Figs 2-4"),
    Page("02_pca_toy", "PIN", "Figs 5-6, the PCA rows of Table XV"),
    Page("03_learnable_pca", "PIN", "Tables I-III, Figs 8, 9, 14: training the agent"),
    Page("04_offline_online", "PIN", "Tables IV, V, XV, Figs 10, 11"),
    Page("05_face_attacks", "PIN", "Tables VI-X, Figs 12, 13"),
    Page("06_gradient_honesty", "PIN", "Tables XI-XIV and beyond"),
    Page("07_contrastive_pretraining", "ACL-triplet", "Alg 1, Fig 3"),
    Page("08_triplet_finetuning", "ACL-triplet", "Alg 2, Figs 4, 5 (its tables)"),
    Page("09_degradation", "DAR-SFRL", "Figs 1-4, training"),
    Page("10_seven_attacks", "DAR-SFRL", "Tables 1-3, Figs 6, 8"),
    Page("11_dar_ablations", "DAR-SFRL", "Tables 4-8, Figs 5, 7"),
    Page("12_feature_gap", "ANCRA", "Figs 1, 6"),
    Page("13_ancra_training", "ANCRA", "Tables I, VIII, IX, Figs 3, 8, 9"),
    Page("14_ancra_attacks", "ANCRA", "Tables II-VII, X, Figs 4, 5, 7"),
    Page("15_joint_embedding", "slides", "the JEAM families, collapse"),
    Page("16_corruptions", "slides", "ImageNet-C / ImageNet-PD robustness of SSL"),
    Page("17_conformal_views", "slides", "Moebius and log-conformal views (MPD, LCM)"),
    Page("18_self_adversarial_training", "slides", "RoCL, ACL, AdvCL, DeACL, DynACL"),
    Page("19_astra", "slides", "ASTrA"),
    Page("20_scoreboard", "all", "paper against ours; every defence against every attack"),
]


def about(page: str) -> About:
    """The entry of `contents.toml` for a page given by name or number."""
    entries = _entries()
    if page[:2] not in entries:
        raise WorkbookError(f"contents.toml has no entry for page {page[:2]}: it has {choices(list(entries))}.")
    return entries[page[:2]]


@cache
def _entries() -> dict[str, About]:
    stored = tomllib.loads((Path(__file__).parent / "contents.toml").read_text(encoding="utf-8"))
    return {number: About(**entry) for number, entry in stored.items()}


def neighbours(page: str) -> tuple[str | None, str | None]:
    """The names of the written pages before and after `page`."""
    names = [place.name for place in PAGES if place.written]
    at = names.index(page) if page in names else None
    if at is None:
        return None, None
    return (names[at - 1] if at else None), (names[at + 1] if at + 1 < len(names) else None)
