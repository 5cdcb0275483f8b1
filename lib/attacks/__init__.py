"""Attacks: one ascent loop whose objective, budget and step rule are arguments; DeepFool; doors to other libraries;
the face-specific ones: the decision-based evolutionary attack, the universal sticker, dropout surrogates (DFANet).

    adversarial = ascend(verification(model, reference, same), probes, Intensity(0.04), PGD.but(step="eps/4"))

`objectives` and `embeddings` hold what is increased, `budgets` how far it may go, `settings` how it steps,
`named` the attacks by name, for tables of every attack against every system.
"""

from lib.attacks.adapters import KnownRows, PairLogits
from lib.attacks.autoattack import AutoAttackResult, AutoAttackSettings, autoattack, autoattack_pairs
from lib.attacks.budgets import L2, Intensity, Linf, intensity_of, rescale_to_intensity
from lib.attacks.deepfool import class_boundaries, deepfool, pair_boundaries
from lib.attacks.diversity import diversify
from lib.attacks.dropout import DFANET, with_dropout
from lib.attacks.embeddings import dodging, feature_distance, impersonation, instance, nt_xent, triplet, verification
from lib.attacks.evolutionary import ROBFR, Evolution, Evolved, evolutionary, pair_decision
from lib.attacks.expectation import Threat, ascend_pairs, expected_verification
from lib.attacks.guard import frozen
from lib.attacks.loop import ascend, in_batches, scores, strongest
from lib.attacks.named import ATTACKS, NamedAttack, attacks_on, named_attack, register
from lib.attacks.objectives import Objective, cross_entropy, dlr, embedder, kl, margin
from lib.attacks.settings import (
    BIM,
    DIFGSM,
    EOTPGD,
    FGSM,
    I_FGSM,
    MIFGSM,
    NIFGSM,
    PGD,
    PGD_L2,
    RANDOM,
    SINIFGSM,
    TPGD,
    UPGD,
    Settings,
)
from lib.attacks.sticker import StickerTraining, paste, total_variation, train_sticker
from lib.losses.contrastive import nt_xent_rows

__all__ = [
    "ATTACKS",
    "BIM",
    "DFANET",
    "DIFGSM",
    "EOTPGD",
    "FGSM",
    "I_FGSM",
    "L2",
    "MIFGSM",
    "NIFGSM",
    "PGD",
    "PGD_L2",
    "RANDOM",
    "ROBFR",
    "SINIFGSM",
    "TPGD",
    "UPGD",
    "AutoAttackResult",
    "AutoAttackSettings",
    "Evolution",
    "Evolved",
    "Intensity",
    "KnownRows",
    "Linf",
    "NamedAttack",
    "Objective",
    "PairLogits",
    "Settings",
    "StickerTraining",
    "Threat",
    "ascend",
    "ascend_pairs",
    "attacks_on",
    "autoattack",
    "autoattack_pairs",
    "class_boundaries",
    "cross_entropy",
    "deepfool",
    "diversify",
    "dlr",
    "dodging",
    "embedder",
    "evolutionary",
    "expected_verification",
    "feature_distance",
    "frozen",
    "impersonation",
    "in_batches",
    "instance",
    "intensity_of",
    "kl",
    "margin",
    "named_attack",
    "nt_xent",
    "nt_xent_rows",
    "pair_boundaries",
    "pair_decision",
    "paste",
    "register",
    "rescale_to_intensity",
    "scores",
    "strongest",
    "with_dropout",
    "total_variation",
    "train_sticker",
    "triplet",
    "verification",
]
