"""A face recogniser in use under the corruptions: one picture of each pair is corrupted, the enrolled one is clean."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import BoolTensor, LongTensor, Tensor

from lib.data.sets import ImageSet, Pairs
from lib.evaluation.effects import rank_correlation
from lib.evaluation.resampling import pair_weights
from lib.evaluation.verification import best_threshold, eer
from lib.models import Recogniser, embed_all
from lib.studies.robust_ssl.corruption_tables import RESAMPLES, slopes
from lib.studies.robust_ssl.study import SSLStudy
from lib.transforms.corruptions import COMMON, EXTRA, corrupt

CONSTANTS = 64  # of the side whose severities faces take: those of 224 pixels are made for twice their size


@dataclass(frozen=True, eq=False)
class FaceScores:
    """Cosine similarities of P pairs: clean (P,), under (conditions, severities, P); same and half (P,), people (P, 2).

    half: whether a pair lies in the second half of the folds.
    """

    conditions: tuple[str, ...]
    severities: tuple[int, ...]
    clean: Tensor
    under: Tensor
    same: BoolTensor
    people: LongTensor
    half: BoolTensor

    @property
    def all(self) -> Tensor:
        """Clean scores, then those under each condition at each severity, (1 + conditions * severities, P)."""
        return torch.cat([self.clean[None], self.under.flatten(0, 1)])


def shrunk(images: Tensor, side: int) -> Tensor:
    """Images (n, 3, H, W) uint8 whose shorter side has `side` pixels, their shape kept."""
    sizes = [round(length * side / min(images.shape[2:])) for length in images.shape[2:]]
    small = F.interpolate(images.float(), size=sizes, mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8)


def fitted(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Images in [0,1] at a recogniser's size, enlarged where they are smaller."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bicubic", align_corners=False).clamp(0, 1)


def scores_corrupted(
    model: Recogniser, probes: Tensor, enrolled: Tensor, name: str, severities: tuple[int, ...], constants: int
) -> Tensor:
    """Scores (severities, P) of corrupted probes (P, 3, h, w) uint8 with enrolled embeddings (P, d).

    constants: of pictures of that side. Probes that are smaller than the recogniser's pictures are enlarged afterwards.
    """
    x = probes.float() / 255
    found = []
    for severity in severities:
        seen = corrupt(x, name, severity, torch.Generator().manual_seed(severity), constants)
        found.append((embed_all(model, fitted(seen, model.size)).cpu() * enrolled).sum(1))
    return torch.stack(found)


def face_scores(
    study: SSLStudy, model: Recogniser, faces: ImageSet, pairs: Pairs, side: int | None = None
) -> FaceScores:
    """The recogniser's scores under all nineteen corruptions, kept one by one.

    side: None for pictures as they are, at the page's `face_severities`; else the probes are first shrunk to so many
    pixels and take the constants of that side, at the highest severity alone.
    """
    severities = (5,) if side else tuple(study.scale.face_severities)
    probes = (faces.images(pairs.first) * 255).round().to(torch.uint8)
    probes = shrunk(probes, side) if side else probes
    enrolled = embed_all(model, faces.images(pairs.second)).cpu()
    clean = (embed_all(model, fitted(probes.float() / 255, model.size)).cpu() * enrolled).sum(1)
    ready = (model, probes, enrolled)
    under = [study.run.kept(scores_corrupted, *ready, name, severities, side or CONSTANTS) for name in COMMON + EXTRA]
    people = torch.stack([faces.labels[pairs.first], faces.labels[pairs.second]], 1)
    half = pairs.fold * 2 > pairs.fold.max()
    return FaceScores(COMMON + EXTRA, severities, clean, torch.stack(under), pairs.same, people, half)


def drawn_eer(scores: FaceScores, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """EER in per cent on all pairs (first row) and on draws of people: clean (1 + B,), under (1 + B, C, V)."""
    chunks = list(pair_weights(scores.same, scores.people, resamples, seed))
    found = torch.stack([torch.cat([eer(row, scores.same, part) for part in chunks]) for row in scores.all], 1)
    whole = torch.tensor([[eer(row, scores.same) for row in scores.all]], dtype=found.dtype)
    table = 100 * torch.cat([whole, found])
    return table[:, 0], table[:, 1:].unflatten(1, scores.under.shape[:2])


def drawn_frozen(scores: FaceScores, resamples: int = RESAMPLES, seed: int = 0) -> Tensor:
    """Error in per cent at a threshold that stays, as that of a system in use does, drawn as in `drawn_eer`.

    (1 + B, 1 + V): clean, then by severity, mean over the fifteen corruptions; half of it the genuine pairs that are
    rejected, half the impostors that are accepted. The threshold is the best one on clean pairs of the other half of
    the folds.
    """
    same, half = scores.same, scores.half
    bounds = [best_threshold(scores.clean[part], same[part]) for part in (half, ~half)]  # for the first and the second
    bound = torch.where(half, bounds[1], bounds[0])
    common = scores.under[[scores.conditions.index(name) for name in COMMON if name in scores.conditions]]
    rows = torch.cat([scores.clean[None], common.transpose(0, 1).flatten(0, 1)])  # clean, then severity by severity
    wrong = ((rows > bound) != same).double()
    weights = torch.cat([torch.ones(1, len(same)).double(), *pair_weights(same, scores.people, resamples, seed)])
    kinds = [(weights * kind @ wrong.T) / (weights * kind).sum(1, keepdim=True) for kind in (same, ~same)]
    table = 100 * (kinds[0] + kinds[1]) / 2  # (1 + B, 1 + V * C)
    by_severity = table[:, 1:].unflatten(1, (len(scores.severities), -1)).mean(2)
    return torch.cat([table[:, :1], by_severity], 1)


def halves_alike(scores: FaceScores) -> float:
    """Rank correlation over corruptions of the EER on the two halves of the folds: how well its order is known."""
    rates = [
        torch.tensor([[eer(row[part], scores.same[part]) for row in rows] for rows in scores.under]).mean(1)
        for part in (scores.half, ~scores.half)
    ]
    return rank_correlation(*rates).item()


def eer_slope(under: Tensor, severities: tuple[int, ...]) -> Tensor:
    """Slope of the EER against severity, points a step, mean over the conditions of under (1 + B, C, V), (1 + B,)."""
    return slopes(under.mean(1), severities)
