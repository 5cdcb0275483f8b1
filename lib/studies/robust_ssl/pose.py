"""Pose of faces on page 17: verification of frontal with frontal and with profile pictures by a frozen encoder."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.sets import ImageSet, Pairs
from lib.evaluation.resampling import fewest_units, pair_weights
from lib.evaluation.verification import eer
from lib.interval import Interval
from lib.studies.pages import official_pairs
from lib.studies.robust_ssl.conformal_page import judge_probes, views_named
from lib.studies.robust_ssl.probes import features_of
from lib.studies.robust_ssl.study import SSLStudy
from lib.training.labelled import coloured

PROTOCOLS = ("FF", "FP")  # frontal with frontal, frontal with profile
POSE_ARMS = ("standard", "moebius")
POSE_CONTROLS = ("untrained", "raw pixels")
WHITENED = 2000  # pre-training faces that the features are standardised on


def pose_pairs(study: SSLStudy, images: ImageSet, protocol: str) -> tuple[Pairs, Tensor, Tensor]:
    """Pairs of CFP's protocol "FF" or "FP", both pictures (P, 2, 3, S, S) uint8, and the people (P, 2).

    A set without protocols (the rehearsal's) gives the same drawn pairs for both.
    """
    pairs = images.pairs[protocol] if protocol in images.pairs else official_pairs(images)
    genuine = int(pairs.same.sum())
    pairs = pairs.thin(min(study.scale.pose_pairs, 2 * min(genuine, len(pairs) - genuine)))
    return pairs, _pictures(images, pairs, study.scale.side), images.labels[torch.stack([pairs.first, pairs.second], 1)]


def _pictures(images: ImageSet, pairs: Pairs, side: int) -> Tensor:
    needed, place = torch.stack([pairs.first, pairs.second], 1).unique(return_inverse=True)
    return coloured(images, needed, side)[place]


def pair_scores(encoder: nn.Module, pictures: Tensor, faces: Tensor, device: str = "cpu") -> dict[str, Tensor]:
    """ "scores" (P,) of pairs (P, 2, 3, S, S): cosines of features, each standardised by its spread over `faces`."""
    known = features_of(encoder, faces[:WHITENED], device)
    mean, std = known.mean(0), known.std(0).clamp_min(1e-6)
    sides = [(features_of(encoder, pictures[:, at], device) - mean) / std for at in (0, 1)]
    return {"scores": F.cosine_similarity(*sides, dim=1)}


def pose_encoders(study: SSLStudy, name: str) -> list[nn.Module]:
    """The encoders of faces of each seed, trained with the views `name`, or those of one of `POSE_CONTROLS`."""
    if name in POSE_CONTROLS:
        return [study.encoder(name, seed, domain="faces") for seed in study.scale.seeds]
    return [study.encoder_from(study.on_faces(seed, views_named(name))) for seed in study.scale.seeds]


def pose_scores(study: SSLStudy, name: str, pictures: Tensor) -> Tensor:
    """Scores (seeds, P) of pairs by `pose_encoders`."""
    return study.for_each(pair_scores, pose_encoders(study, name), pictures, study.faces.images, study.device)["scores"]


def faces_under(study: SSLStudy, name: str) -> dict[str, Tensor]:
    """`right_under` of identity probes on the encoders of faces trained with the views `name`."""
    probes = [study.probe(encoder, "identity") for encoder in pose_encoders(study, name)]
    return judge_probes(study, probes, "identity")


def eer_over_seeds(scores: Tensor, same: Tensor, people: Tensor, base: Tensor | None = None, seed: int = 0) -> Interval:
    """EER in points of scores (seeds, P), less that of `base` if given; trainings and people both drawn."""
    weights = torch.cat(list(pair_weights(same, people, 400, seed)))
    drawn = _by_seed(scores, same, weights)
    whole = _by_seed(scores, same, None)
    if base is not None:
        drawn = drawn - _by_seed(base, same, weights)
        whole = whole - _by_seed(base, same, None)
    rows = torch.randint(len(scores), (len(weights), len(scores)), generator=torch.Generator().manual_seed(seed))
    values = torch.stack([drawn[row, at].mean() for at, row in enumerate(rows)])
    low, high = values.nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    estimate = whole.mean().item()
    return Interval(estimate, min(low, estimate), max(high, estimate), n=fewest_units(same, people))


def _by_seed(scores: Tensor, same: Tensor, weights: Tensor | None) -> Tensor:
    """EER in points of each seed: (seeds,), or (seeds, draws)."""
    return torch.stack([torch.as_tensor(eer(row, same, weights=weights), dtype=torch.float64) for row in scores]) * 100
