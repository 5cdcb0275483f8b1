"""The price of projecting on few eigenvectors, and what it buys: scores of every system, attack and protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.attacks import FGSM, PGD, Intensity, intensity_of, rescale_to_intensity, verification
from lib.attacks.expectation import Threat
from lib.book.run import Run
from lib.data import ImageSet, Pairs, make_pairs
from lib.data.examples import ImagePairs
from lib.defences import Basis, Defended, PCAProjection, fit_pca
from lib.evaluation.randomised_attacks import images_at_steps
from lib.evaluation.randomised_defences import threshold_of
from lib.models import Recogniser, similarity, to_gray
from lib.progress import progress
from lib.seeds import seeded
from lib.studies.pages import other_people
from lib.studies.pin.attacks import PIN_INTENSITY, attack_pairs, clean_scores

Scores = dict[str, dict[str, Tensor]]
HELD_OUT = 200  # pairs of other people, for the attacker's threshold
NORMS = {"sign": "linf", "l2": "l2"}  # the norm that a step rule climbs in
RULES = {"PGD": "sign", "PGD-L2": "l2"}  # of ten steps
AS_STEPPED = "as stepped"  # an attack before it is rescaled to its intensity
RESCALINGS = 10  # each clamp to [0,1] takes a little away; after ten rounds nothing measurable is missing


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


def reach_intensity(x: Tensor, adversarial: Tensor, intensity: Intensity) -> Tensor:
    """Scale each perturbation until the images, clamped to [0,1], have exactly this intensity (PIN, section IV).

    Images (n, C, H, W) in [0,1]. A perturbation that has run into black and white everywhere cannot grow and stays
    below; one of zero stays zero.
    """
    for _ in range(RESCALINGS):
        adversarial = rescale_to_intensity(x, adversarial, intensity)
    return adversarial


def climb(
    model: Recogniser, pairs: ImagePairs, rule: str, intensity: Intensity, stops: Sequence[int], seed: int = 0
) -> list[Tensor]:
    """Adversarial first images (P, C, H, W) after each number of steps of `stops`, before any rescaling.

    One climb from a random start with steps of a quarter of the radius, along the gradient's signs (rule 'sign') or
    along the gradient itself ('l2'); the last image counts. A single stop at 1 is FGSM: one whole step from the image.
    """
    settings = FGSM if list(stops) == [1] else PGD.but(step="eps/4", rule=rule)
    budget = Intensity(intensity.value, intensity.convention, NORMS[rule])
    with seeded(seed):
        goal = verification(model, pairs.y, pairs.same)
        return images_at_steps(goal, pairs.x, Threat(settings, budget), stops, seed)


def exact_scores(
    attacked: Recogniser,
    judges: Mapping[str, Recogniser],
    attack: str,
    pairs: ImagePairs,
    threshold: float = 0.3,
    seed: int = 0,
) -> Scores:
    """Scores (P,) of each judge under an attack on `attacked`: rescaled to PIN's intensity ('exact') and 'as stepped'.

    attack: 'FGSM', 'PGD', 'PGD-L2' (10 steps) or 'DeepFool', which needs the cosine `threshold` of a decision. Under
    'intensity' stand the intensities (P,) that both reach. Online: the judge is the attacked system.
    """
    intensity = Intensity(PIN_INTENSITY)
    if attack == "DeepFool":
        stepped = attack_pairs(attack, attacked, pairs, threshold=threshold, seed=seed)
    elif attack == "FGSM":
        stepped = climb(attacked, pairs, "sign", intensity, [1], seed)[0]
    else:
        stepped = climb(attacked, pairs, RULES[attack], intensity, [10], seed)[0]
    images = {"exact": reach_intensity(pairs.x, stepped, intensity), AS_STEPPED: stepped}
    found = {way: {k: similarity(j, moved, pairs.y) for k, j in judges.items()} for way, moved in images.items()}
    return found | {"intensity": {way: intensity_of(pairs.x, moved) for way, moved in images.items()}}


def measure(
    run: Run,
    model: Recogniser,
    fitted: FittedPairs,
    counts: Sequence[int],
    attacks: Mapping[str, Sequence[int]],
    seed: int = 0,
) -> Scores:
    """Scores (P,) under 'clean', 'offline / FGSM', 'online / FGSM', ...: for each condition, one tensor a system.

    Every attack reaches exactly PIN's intensity; 'offline / PGD, as stepped' is the one before it was rescaled, and
    'intensity' holds what 'PGD' and 'PGD, as stepped' reach (P,) on all attacked systems, one after the other.
    attacks: for each attack's name the k whose online version is wanted (offline costs one attack for all k).
    Each online attack is a kept result of its own, so that a stopped run goes on where it was.
    """
    every = pca_systems(model, fitted.basis, counts)
    scores: Scores = {"clean": run.kept(clean_scores, every, fitted.images)}
    reached: dict[str, list[Tensor]] = {}
    jobs = [(attack, k) for attack, wanted in attacks.items() for k in ("none", *(f"PCA-{k}" for k in wanted))]
    for attack, name in progress(jobs, "attacking each system"):
        level = threshold_of(every[name], fitted.held_out) if attack == "DeepFool" else 0.0
        judges = every if name == "none" else {name: every[name]}
        found = run.kept(exact_scores, every[name], judges, attack, fitted.images, level, seed)
        for way, label in (("exact", attack), (AS_STEPPED, f"{attack}, {AS_STEPPED}")):
            if name == "none":
                scores[f"offline / {label}"] = found[way]
            reached.setdefault(label, []).append(found["intensity"][way])
            scores.setdefault(f"online / {label}", {})[name] = found[way][name]
    return scores | {"intensity": {label: torch.cat(parts) for label, parts in reached.items()}}


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
