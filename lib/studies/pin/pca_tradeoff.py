"""The price of projecting on few eigenvectors, and what it buys: scores of every system, attack and protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.data import ImageSet, Pairs, make_pairs
from lib.defences import Basis, Defended, PCAProjection, fit_pca
from lib.evaluation.verification import best_threshold
from lib.models import Recogniser, similarity, to_gray
from lib.progress import progress
from lib.studies.pages import other_people
from lib.studies.pin.attacks import PIN_INTENSITY, attacked_scores, clean_scores

Scores = dict[str, dict[str, Tensor]]
HELD_OUT = 200  # pairs of other people, for the attacker's threshold


@dataclass(frozen=True, eq=False)
class Part:
    """Test pairs with their gray images x, y (P, 1, H, W) in [0,1], and a basis that was fitted on other people.

    `held_out` are pairs (x, y, same) of other people, on which an attacker's threshold is chosen.
    """

    pairs: Pairs
    x: Tensor
    y: Tensor
    basis: Basis
    held_out: tuple[Tensor, Tensor, Tensor]


def fit_basis(faces: ImageSet, index: LongTensor, components: int, device: str = "cpu") -> dict[str, Tensor]:
    """`fit_pca` of the gray faces at `index`, so that the fit can be kept without reading the faces again."""
    fitted = fit_pca(to_gray(faces.images(index, progress=True)).to(device), components)
    return {name: value.cpu() for name, value in fitted.items()}


def fitted_part(
    kept: Callable, faces: ImageSet, pairs: Pairs, fit_images: int, components: int, device: torch.device
) -> Part:
    """Test pairs of `faces` with a basis of `components` eigenvectors from up to `fit_images` faces of other people."""
    index = other_people(faces, pairs, fit_images)
    fitted = kept(fit_basis, faces, index, components, str(device))
    basis = Basis(**{name: value.to(device) for name, value in fitted.items()})
    drawn = make_pairs(faces.labels[index], HELD_OUT // 2, HELD_OUT // 2, seed=0)
    held_out = (*gray_pairs(faces, index[drawn.first], index[drawn.second]), drawn.same)
    return Part(pairs, *gray_pairs(faces, pairs.first, pairs.second), basis, held_out)


def gray_pairs(faces: ImageSet, first: LongTensor, second: LongTensor) -> tuple[Tensor, Tensor]:
    """The gray images (P, 1, H, W) of both sides of pairs."""
    return to_gray(faces.images(first)), to_gray(faces.images(second))


def systems(model: Recogniser, basis: Basis, counts: Sequence[int]) -> dict[str, Recogniser]:
    """The bare recogniser 'none', and the recogniser behind 'PCA-k' for each k of `counts`."""
    device = next(model.parameters()).device
    return {"none": model} | {f"PCA-{k}": Defended(model, PCAProjection(basis, k)).to(device) for k in counts}


def measure(
    kept: Callable,
    model: Recogniser,
    part: Part,
    counts: Sequence[int],
    attacks: Mapping[str, Sequence[int]],
    intensity: float = PIN_INTENSITY,
    seed: int = 0,
) -> Scores:
    """Scores (P,) under 'clean', 'offline / FGSM', 'online / FGSM', ...: for each condition, one tensor a system.

    attacks: for each attack's name the k whose online version is wanted (offline costs one attack for all k).
    kept: `run.kept`, so that each online attack is a result of its own and a stopped run goes on where it was.
    """
    every = systems(model, part.basis, counts)
    pairs = (part.x, part.y, part.pairs.same, intensity)
    scores: Scores = {"clean": kept(clean_scores, every, part.x, part.y)}
    jobs = [(attack, k) for attack, wanted in attacks.items() for k in ("none", *(f"PCA-{k}" for k in wanted))]
    for attack, name in progress(jobs, "attacking each system"):
        level = (
            best_threshold(similarity(every[name], *part.held_out[:2]), part.held_out[2])
            if attack == "DeepFool"
            else 0.0
        )
        judges = every if name == "none" else {name: every[name]}
        found = kept(attacked_scores, every[name], judges, attack, *pairs, threshold=level, seed=seed)
        if name == "none":
            scores[f"offline / {attack}"] = found
        scores.setdefault(f"online / {attack}", {})[name] = found[name]
    return scores


def joined(parts: Sequence[Scores]) -> Scores:
    """The scores of several parts one after the other, as one test."""
    return {
        condition: {name: torch.cat([part[condition][name] for part in parts]) for name in parts[0][condition]}
        for condition in parts[0]
    }


def retained(basis: Basis, k: int, mask: Tensor) -> float:
    """Share of the energy of Gaussian noise in the subspace `mask` (H, W) that projection on k eigenvectors keeps.

    With noise of covariance I on the d pixels of S, E ||B B^T n||^2 / E ||n||^2 = (1/d) sum over i in S, j <= k of
    B_ij^2: the mean leverage of the subspace's pixels.
    """
    return basis.vectors[mask.flatten().bool().to(basis.vectors.device), :k].double().square().sum(1).mean().item()
