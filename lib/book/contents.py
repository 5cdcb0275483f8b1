"""The book's table of contents: its profiles, and every page, written or planned, with what it reproduces."""

from dataclasses import dataclass

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
