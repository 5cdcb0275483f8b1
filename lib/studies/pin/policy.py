"""How good a selection of eigenvectors is, against fixed masks, a threshold, the oracle; how noisy its gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.defences.pca import Basis, coefficients, rebuild
from lib.models import Recogniser
from lib.models.base import embed_any
from lib.studies.pin.reinforce import UNIT, Choices
from lib.studies.pin.selection import (
    GRADIENT_BASELINES,
    exact_gradient,
    oracle_mask,
    policy_gradient,
    reward,
    weights_of,
)


def fixed_mask(learnt: Choices, found: Choices, penalty: float, step: int = 10) -> tuple[Tensor, Tensor]:
    """The best single mask for all faces: (mask (N,), its reward (n,) on `found`).

    The eigenvectors of smallest mean weight on the faces `learnt`, as many as pay best there. What no mask that
    depends on the face may fall below.
    """
    order = learnt.weights.mean(0).argsort()
    sizes = range(step, len(order) + 1, step)
    masks = torch.zeros(len(sizes), len(order), device=order.device)
    for row, size in enumerate(sizes):
        masks[row, order[:size]] = 1
    squared = learnt.energy[:, None] + learnt.weights @ masks.T
    best = masks[(squared.clamp_min(0).sqrt().mean(0) + penalty * masks.sum(1)).argmin()]
    return best, reward(best.expand_as(found.weights), found.weights, found.energy, penalty)


def threshold_masks(found: Choices, basis: Basis, level: float) -> Tensor:
    """The masks (n, N) of the hard threshold |a_j| > level (units of [0,1] pixels) on noisy faces."""
    return (coefficients(found.noisy, basis).abs() > level).float()


def best_threshold_level(learnt: Choices, basis: Basis, penalty: float, levels: Sequence[float]) -> float:
    """The level whose masks earn the largest mean reward on the faces `learnt`."""
    earned = [
        reward(threshold_masks(learnt, basis, level), learnt.weights, learnt.energy, penalty).mean() for level in levels
    ]
    return float(levels[int(torch.stack(earned).argmax())])


@torch.no_grad()
def probabilities(agent: nn.Module, images: Tensor, batch: int = 32) -> Tensor:
    """The agent's probabilities (n, N) on images (n, 1, H, W)."""
    return torch.cat([agent(part).float().sigmoid() for part in images.split(batch)])


def entropy_bits(p: Tensor) -> Tensor:
    """Entropy (n,) of independent Bernoullis p (n, N), in bits; N would be total indecision."""
    return -(torch.special.xlogy(p, p) + torch.special.xlogy(1 - p, 1 - p)).sum(1) / torch.log(torch.tensor(2.0))


def bits_of(p: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy (n,) in bits of masks (n, N) under probabilities p (n, N): what is left to say about each mask."""
    return -(torch.special.xlogy(masks, p) + torch.special.xlogy(1 - masks, 1 - p)).sum(1) / torch.log(
        torch.tensor(2.0)
    )


def jaccard(masks: Tensor) -> Tensor:
    """Jaccard index (pairs,) of the masks (n, N) of neighbouring rows: size of the common part over the union's."""
    first = masks[0::2][: len(masks) // 2]
    second = masks[1::2]
    return (first * second).sum(1) / torch.maximum(first, second).sum(1).clamp_min(1)


def beyond_pca(masks: Tensor) -> Tensor:
    """Share (n,) of the eigenvectors that a mask (n, N) of K keeps and PCA with K would not: those after the K-th."""
    sizes = masks.sum(1, keepdim=True)
    later = torch.arange(masks.shape[1], device=masks.device) >= sizes
    return (masks * later).sum(1) / sizes.squeeze(1).clamp_min(1)


def share_of_the_way(own: Tensor, worst: Tensor, best: Tensor) -> Tensor:
    """Where the mean of `own` (n,) lies between the means of `worst` (0) and `best` (1), all of the same faces."""
    return (own.mean() - worst.mean()) / (best.mean() - worst.mean())


def estimator_study(
    found: Choices, logits: Tensor, penalty: float, norm: str, draws: int, repeats: int
) -> dict[str, dict[str, float]]:
    """REINFORCE's estimates at fixed `logits` (n, N), repeated, as {baseline: results}.

    "variance": of the gradient of one logit, averaged over logits and faces; "by_face" (n,): over logits alone.
    "slope": of the regression of the mean
    estimate on the exact gradient, with its standard error "error" (over repeats); NaN for norms without a closed form.
    """
    exact = exact_gradient(found.weights, logits, penalty) if norm == "squared" else None
    generator = torch.Generator(logits.device)
    results = {}
    for baseline in GRADIENT_BASELINES:
        generator.manual_seed(0)
        total = square = torch.zeros_like(logits, dtype=torch.float64)
        slopes = []
        for _ in range(repeats):
            p = logits.sigmoid().expand(draws, *logits.shape)
            masks = torch.bernoulli(p, generator=generator)
            rewards = reward(masks, found.weights, found.energy, penalty, norm, found.noisy[0].numel())
            estimate = policy_gradient(masks, rewards, logits, baseline).double()
            total = total + estimate
            square = square + estimate.square()
            if exact is not None:
                slopes.append((estimate * exact).sum() / exact.double().square().sum())
        by_face = (square / repeats - (total / repeats).square()).mean(1) * repeats / (repeats - 1)
        slope = torch.stack(slopes) if slopes else torch.full((2,), torch.nan)
        results[baseline] = {
            "variance": by_face.mean().item(),
            "by_face": by_face.cpu(),
            "slope": slope.mean().item(),
            "error": (slope.std() / len(slope) ** 0.5).item(),
        }
    return results


def oracle_sizes(found: Choices, penalty: float, norm: str) -> Tensor:
    """Mask sizes (n,) of the oracle under a norm."""
    return oracle_mask(found.weights, found.energy, penalty, norm, found.noisy[0].numel()).sum(1)


@torch.no_grad()
def oracle_project(basis: Basis, images: Tensor, clean: Tensor, penalty: float, batch: int = 64) -> Tensor:
    """Images (n, 1, H, W) projected with the masks of one who sees the `clean` images: every selection's ceiling."""
    parts = []
    for rows in torch.arange(len(images)).split(batch):
        x = images[rows].to(basis.vectors.device)
        true = clean[rows].to(basis.vectors.device)
        a = coefficients(x, basis)
        c = coefficients(true, basis)
        energy = (true.flatten(1) - basis.mean).square().sum(1)
        mask = oracle_mask(UNIT**2 * weights_of(a, c), UNIT**2 * energy, penalty)
        parts.append(rebuild(a * mask, basis, x).to(images.device))
    return torch.cat(parts)


def oracle_scores(
    model: Recogniser, basis: Basis, penalty: float, x: Tensor, attacked: Tensor, y: Tensor
) -> dict[str, Tensor]:
    """Cosines (P,) of pairs behind oracle masks: "clean" of x with y, "attacked" of the attacked x with y."""
    second = oracle_project(basis, y, y, penalty)
    return {
        "clean": _cosines(model, oracle_project(basis, x, x, penalty), second),
        "attacked": _cosines(model, oracle_project(basis, attacked, x, penalty), second),
    }


def _cosines(model: Recogniser, x: Tensor, y: Tensor) -> Tensor:
    """Cosines (P,) of projected pairs, whose values may leave [0,1]."""
    return (embed_any(model, x) * embed_any(model, y)).sum(1).cpu()
