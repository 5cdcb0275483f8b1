"""A face recogniser in use under the corruptions: one picture of each pair is corrupted, the enrolled one is clean."""

from dataclasses import dataclass

import torch
from torch import BoolTensor, LongTensor, Tensor

from lib.data.sets import ImageSet, Pairs
from lib.evaluation.resampling import pair_weights
from lib.evaluation.verification import eer
from lib.models import Recogniser, embed_all
from lib.studies.robust_ssl.corruption_tables import RESAMPLES, slopes
from lib.studies.robust_ssl.study import SSLStudy
from lib.transforms.corruptions import COMMON, EXTRA, corrupt

CONSTANTS = 64  # of the side whose severities faces take: those of 224 pixels are made for twice their size


@dataclass(frozen=True, eq=False)
class FaceScores:
    """Cosine similarities of P pairs: clean (P,), under (conditions, severities, P); same (P,), people (P, 2)."""

    conditions: tuple[str, ...]
    severities: tuple[int, ...]
    clean: Tensor
    under: Tensor
    same: BoolTensor
    people: LongTensor


def scores_corrupted(
    model: Recogniser, probes: Tensor, enrolled: Tensor, name: str, severities: tuple[int, ...]
) -> Tensor:
    """Scores (severities, P) of corrupted probes (P, 3, H, W) uint8 with enrolled embeddings (P, d)."""
    x = probes.float() / 255
    found = []
    for severity in severities:
        seen = corrupt(x, name, severity, torch.Generator().manual_seed(severity), CONSTANTS)
        found.append((embed_all(model, seen).cpu() * enrolled).sum(1))
    return torch.stack(found)


def face_scores(study: SSLStudy, model: Recogniser, faces: ImageSet, pairs: Pairs) -> FaceScores:
    """The recogniser's scores under all nineteen corruptions at the page's `face_severities`, kept one by one."""
    severities = tuple(study.scale.face_severities)
    probes = (faces.images(pairs.first) * 255).round().to(torch.uint8)
    enrolled = embed_all(model, faces.images(pairs.second)).cpu()
    clean = (embed_all(model, probes.float() / 255).cpu() * enrolled).sum(1)
    under = [study.run.kept(scores_corrupted, model, probes, enrolled, name, severities) for name in COMMON + EXTRA]
    people = torch.stack([faces.labels[pairs.first], faces.labels[pairs.second]], 1)
    return FaceScores(COMMON + EXTRA, severities, clean, torch.stack(under), pairs.same, people)


def drawn_eer(scores: FaceScores, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Tensor, Tensor]:
    """EER in per cent on all pairs (first row) and on draws of people: clean (1 + B,), under (1 + B, C, V)."""
    rows = torch.cat([scores.clean[None], scores.under.flatten(0, 1)])
    chunks = list(pair_weights(scores.same, scores.people, resamples, seed))
    found = torch.stack([torch.cat([eer(row, scores.same, part) for part in chunks]) for row in rows], 1)
    whole = torch.tensor([[eer(row, scores.same) for row in rows]], dtype=found.dtype)
    table = 100 * torch.cat([whole, found])
    return table[:, 0], table[:, 1:].unflatten(1, scores.under.shape[:2])


def eer_slope(under: Tensor, severities: tuple[int, ...]) -> Tensor:
    """Slope of the EER against severity, points a step, mean over the conditions of under (1 + B, C, V), (1 + B,)."""
    return slopes(under.mean(1), severities)
