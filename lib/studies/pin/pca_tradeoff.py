"""The price of projecting on few eigenvectors, and what it buys: scores of every system, attack and protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.book.run import Run
from lib.data import ImageSet, Pairs, make_pairs
from lib.data.examples import ImagePairs
from lib.defences import Basis, Defended, PCAProjection, fit_pca
from lib.evaluation.randomised_defences import threshold_of
from lib.models import Recogniser, to_gray
from lib.progress import progress
from lib.studies.pages import other_people
from lib.studies.pin.attacks import attacked_scores, clean_scores

Scores = dict[str, dict[str, Tensor]]
HELD_OUT = 200  # pairs of other people, for the attacker's threshold


@dataclass(frozen=True, eq=False)
class FittedPairs:
    """Test pairs with their gray images, and a basis that was fitted on other people.

    `held_out` are pairs of other people, on which an attacker's threshold is chosen.
    """

    pairs: Pairs
    images: ImagePairs
    basis: Basis
    held_out: ImagePairs


def fit_basis(faces: ImageSet, index: LongTensor, components: int, device: str = "cpu") -> dict[str, Tensor]:
    """`fit_pca` of the gray faces at `index`, so that the fit can be kept without reading the faces again."""
    fitted = fit_pca(to_gray(faces.images(index, progress=True)).to(device), components)
    return {name: value.cpu() for name, value in fitted.items()}


def fit_pairs(run: Run, faces: ImageSet, pairs: Pairs, fit_images: int, components: int) -> FittedPairs:
    """Test pairs of `faces` with a basis of `components` eigenvectors from up to `fit_images` faces of other people."""
    index = other_people(faces, pairs, fit_images)
    fitted = run.kept(fit_basis, faces, index, components, str(run.device))
    basis = Basis(**{name: value.to(run.device) for name, value in fitted.items()})
    drawn = make_pairs(faces.labels[index], HELD_OUT // 2, HELD_OUT // 2, seed=0)
    others = Pairs(index[drawn.first], index[drawn.second], drawn.same, drawn.fold)
    return FittedPairs(pairs, gray_pairs(faces, pairs), basis, gray_pairs(faces, others))


def gray_pairs(faces: ImageSet, pairs: Pairs) -> ImagePairs:
    """The gray images (P, 1, H, W) of both sides of pairs."""
    return ImagePairs(to_gray(faces.images(pairs.first)), to_gray(faces.images(pairs.second)), pairs.same)


def pca_systems(model: Recogniser, basis: Basis, counts: Sequence[int]) -> dict[str, Recogniser]:
    """The bare recogniser 'none', and the recogniser behind 'PCA-k' for each k of `counts`."""
    device = next(model.parameters()).device
    return {"none": model} | {f"PCA-{k}": Defended(model, PCAProjection(basis, k)).to(device) for k in counts}


def measure(
    run: Run,
    model: Recogniser,
    fitted: FittedPairs,
    counts: Sequence[int],
    attacks: Mapping[str, Sequence[int]],
    seed: int = 0,
) -> Scores:
    """Scores (P,) under 'clean', 'offline / FGSM', 'online / FGSM', ...: for each condition, one tensor a system.

    attacks: for each attack's name the k whose online version is wanted (offline costs one attack for all k).
    Each online attack is a kept result of its own, so that a stopped run goes on where it was.
    """
    every = pca_systems(model, fitted.basis, counts)
    scores: Scores = {"clean": run.kept(clean_scores, every, fitted.images)}
    jobs = [(attack, k) for attack, wanted in attacks.items() for k in ("none", *(f"PCA-{k}" for k in wanted))]
    for attack, name in progress(jobs, "attacking each system"):
        level = threshold_of(every[name], fitted.held_out) if attack == "DeepFool" else 0.0
        judges = every if name == "none" else {name: every[name]}
        found = run.kept(attacked_scores, every[name], judges, attack, fitted.images, level, seed)
        if name == "none":
            scores[f"offline / {attack}"] = found
        scores.setdefault(f"online / {attack}", {})[name] = found[name]
    return scores


def join_scores(parts: Sequence[Scores]) -> Scores:
    """Scores (P,) or (draws, P) of parts of the test, each with a basis of its own, as those of one test."""
    return {
        condition: {name: torch.cat([part[condition][name] for part in parts], dim=-1) for name in parts[0][condition]}
        for condition in parts[0]
    }


def retained(basis: Basis, k: int, mask: Tensor) -> float:
    """Share of the energy of Gaussian noise in the subspace `mask` (H, W) that projection on k eigenvectors keeps.

    With noise of covariance I on the d pixels of S, E ||B B^T n||^2 / E ||n||^2 = (1/d) sum over i in S, j <= k of
    B_ij^2: the mean leverage of the subspace's pixels.
    """
    return basis.vectors[mask.flatten().bool().to(basis.vectors.device), :k].double().square().sum(1).mean().item()
