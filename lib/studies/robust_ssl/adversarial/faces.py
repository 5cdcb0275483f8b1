"""Faces: encoders of self-adversarial training verify pairs, clean and attacked, and go through the honesty checks."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import BoolTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import verification
from lib.attacks.loop import in_batches
from lib.attacks.settings import FGSM, PGD, RANDOM, Settings
from lib.data.sets import ImageSet, Pairs
from lib.evaluation.honesty_checks import Check, honesty
from lib.evaluation.intervals import pair_bootstrap
from lib.evaluation.verification import eer
from lib.interval import Interval
from lib.models.base import embed_all
from lib.studies.robust_ssl.adversarial.networks import OneRoute, RoutedEncoder
from lib.studies.robust_ssl.probes import features_of
from lib.training.labelled import coloured

STANDARDISED = 2000  # faces that the features are standardised on
BOUNDS = (2, 4, 8, 16, 64)  # in 255ths
BATCH = 128  # pictures attacked at once


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Pairs at the encoder's side: pictures (P, 2, 3, S, S) in [0,1], `same` (P,), people (P, 2)."""

    pictures: Tensor
    same: BoolTensor
    people: Tensor


@dataclass(frozen=True)
class FaceJudges:
    """The attacks of the check list: PGD's steps (also a quarter and twice as many), and draws of the random search."""

    steps: int = 20
    draws: int = 100

    @property
    def lengths(self) -> tuple[int, int, int]:
        """A short, the usual and a long PGD."""
        return max(1, self.steps // 4), self.steps, 2 * self.steps


def face_pairs(images: ImageSet, pairs: Pairs, side: int) -> FacePairs:
    """Both pictures of each pair, and who they show."""
    both = torch.stack([pairs.first, pairs.second], 1)
    needed, place = both.unique(return_inverse=True)
    pictures = coloured(images, needed, side)[place].float() / 255
    return FacePairs(pictures, pairs.same, images.labels[both])


class FaceFeatures(nn.Module):
    """An encoder along one route whose features are standardised by their spread over faces: what pairs compare."""

    def __init__(self, encoder: RoutedEncoder, faces: Tensor, way: str = "adversarial", device: str = "cpu"):
        super().__init__()
        self.encoder = OneRoute(encoder, way)
        known = features_of(self.encoder, faces[:STANDARDISED], device)
        self.register_buffer("mean", known.mean(0).to(device))
        self.register_buffer("std", known.std(0).clamp_min(1e-6).to(device))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised features (n, d) of images in [0,1]."""
        return (self.encoder(x) - self.mean) / self.std

    def embed(self, x: Tensor) -> Tensor:
        """The same at unit length."""
        return F.normalize(self(x), dim=1)


def scores_after(model: nn.Module, pairs: FacePairs, eps: str, settings: Settings, seed: int = 0) -> Tensor:
    """Cosines (P,) of pairs whose first pictures are attacked towards the wrong decision."""
    first, second = pairs.pictures.unbind(1)
    goal = verification(model, second, pairs.same)
    generator = torch.Generator().manual_seed(seed)
    moved = in_batches(goal, first, Linf(eps), settings, batch=BATCH, generator=generator)
    return (embed_all(model, moved) * embed_all(model, second)).sum(1).cpu()


def verified(model: nn.Module, pairs: FacePairs, judges: FaceJudges = FaceJudges(), seed: int = 0) -> dict[str, Tensor]:
    """Scores (P,) clean and under every attack of the honesty checks, by name; "zero": pairs without a gradient."""
    first, second = pairs.pictures.unbind(1)
    found = {"clean": (embed_all(model, first) * embed_all(model, second)).sum(1).cpu()}
    found["one step"] = scores_after(model, pairs, "8/255", FGSM, seed)
    wide = PGD.but(step=f"2.5*eps/{judges.steps}", steps=judges.steps)
    for bound in BOUNDS:
        found[f"bound {bound}"] = scores_after(model, pairs, f"{bound}/255", wide, seed)
    for steps in judges.lengths:
        found[f"steps {steps}"] = scores_after(model, pairs, "8/255", PGD.but(steps=steps), seed)
    found["random"] = scores_after(model, pairs, "8/255", RANDOM.but(restarts=judges.draws), seed)
    return found | {"zero": zero_gradients(model, pairs)}


def zero_gradients(model: nn.Module, pairs: FacePairs) -> Tensor:
    """Which pairs (P,) have a gradient of exactly zero, as 0 or 1."""
    first, second = pairs.pictures.unbind(1)
    device = next(model.parameters()).device
    parts = []
    for x, y in zip(first.split(BATCH), second.split(BATCH), strict=True):
        leaf = x.to(device).requires_grad_()
        with torch.no_grad():
            anchor = model.embed(y.to(device))
        (gradient,) = torch.autograd.grad((model.embed(leaf) * anchor).sum(), leaf)
        parts.append((gradient.flatten(1) == 0).all(1).float().cpu())
    return torch.cat(parts)


def eer_of(scores: Tensor, pairs: FacePairs, seed: int = 0) -> Interval:
    """EER in shares with its interval over people."""
    return pair_bootstrap(scores, pairs.same, pairs.people, eer, resamples=300, seed=seed)


def checked(
    found: dict[str, Tensor], pairs: FacePairs, judges: FaceJudges = FaceJudges(), seed: int = 0
) -> list[Check]:
    """The honesty checks of one encoder, from `verified`'s scores; decisions are taken at the clean scores' median."""

    def error(name: str) -> Interval:
        return eer_of(found[name], pairs, seed)

    threshold = found["clean"].median()

    def broken(name: str) -> list[bool]:
        return ((found[name] >= threshold) != pairs.same).tolist()

    return honesty(
        clean=error("clean"),
        one_step=error("one step"),
        iterative=error(f"steps {judges.steps}"),
        black_box=error("random"),
        by_bound={bound: error(f"bound {bound}") for bound in BOUNDS},
        by_steps={steps: error(f"steps {steps}") for steps in judges.lengths},
        random_search=(broken("random"), broken(f"steps {judges.lengths[-1]}")),
        zero_gradients=float(found["zero"].mean()),
    )
