"""Which eigenvectors to keep for one image: what a selection costs, computed without forming a single image.

For an orthonormal basis B (D, N), the noisy coefficients a = B^T (x_n - m) and the clean ones c = B^T (x - m),

    || B diag(q) B^T (x_n - m) - (x - m) ||^2 = S + q . w,    w = a^2 - 2 a c,    S = || x - m ||^2,

because q^2 = q and B^T B = I. So PIN's reward (eq. 3) of k masks for b images costs b*k*N products instead of
b*k*2*D*N, and no image is built.
"""

import torch
from torch import Tensor

from lib.errors import WorkbookError, choices

NORMS = ("l2", "squared", "mean")  # the paper's eq. 3; the sum of squares; the released code's mean over pixels


def weights_of(noisy: Tensor, clean: Tensor) -> Tensor:
    """w (n, N): what keeping each coefficient adds to the squared residual; negative where keeping pays."""
    return noisy * (noisy - 2 * clean)


def reward(masks: Tensor, weights: Tensor, energy: Tensor, penalty: float, norm: str = "l2", pixels: int = 1) -> Tensor:
    """PIN's reward (eq. 3) of masks (..., n, N) in {0,1}: minus the residual's norm, minus penalty times mask size.

    weights (n, N) as of `weights_of`, energy (n,) = ||x - m||^2, both in the units in which `penalty` is meant (PIN:
    images in [-1,1]); pixels D is used by norm "mean" alone. Gives (..., n).
    """
    squared = torch.einsum("...n,...n->...", masks, weights) + energy
    return -residual(squared, norm, pixels) - penalty * masks.sum(-1)


def residual(squared: Tensor, norm: str, pixels: int = 1) -> Tensor:
    """The residual's norm, of its square: "l2" its root, "squared" itself, "mean" itself over the pixels."""
    if norm not in NORMS:
        raise WorkbookError(f"The reward's norm is one of {choices(NORMS)}, not '{norm}': choose one.")
    if norm == "l2":
        return squared.clamp_min(0).sqrt()
    return squared / pixels if norm == "mean" else squared


def oracle_mask(weights: Tensor, energy: Tensor, penalty: float, norm: str = "l2", pixels: int = 1) -> Tensor:
    """The mask (n, N) of the largest reward, for one who sees the clean image: sort, sum up, scan the sizes.

    At a given size the smallest weights are best, so the best of the N + 1 prefixes of the sorted weights is the
    best of all 2^N masks.
    """
    ordered, order = weights.double().sort(1)
    squared = torch.cat([energy.double()[:, None], energy.double()[:, None] + ordered.cumsum(1)], 1)
    sizes = torch.arange(squared.shape[1], device=weights.device)
    best = (-residual(squared, norm, pixels) - penalty * sizes).argmax(1, keepdim=True)
    kept = (sizes[:-1] < best).to(weights.dtype)
    return torch.zeros_like(weights).scatter_(1, order, kept)


GRADIENT_BASELINES = ("none", "batch", "image", "leave-one-out")


def advantages(rewards: Tensor, baseline: str) -> Tensor:
    """Rewards (k, b) of k masks for b images, less a baseline (PIN, eq. 10, takes the minibatch's mean: "batch").

    "image" takes each image's own mean, which shrinks the gradient by (k-1)/k; "leave-one-out" the mean of the other
    k-1 masks of the image, which leaves it unbiased.
    """
    if baseline not in GRADIENT_BASELINES:
        raise WorkbookError(f"A baseline is one of {choices(GRADIENT_BASELINES)}, not '{baseline}': choose one.")
    if baseline == "none":
        return rewards
    if baseline == "batch":
        return rewards - rewards.mean()
    centred = rewards - rewards.mean(0)
    if baseline == "image":
        return centred
    if len(rewards) < 2:
        raise WorkbookError("The leave-one-out baseline needs at least two masks an image: raise the draws.")
    return centred * (len(rewards) / (len(rewards) - 1))


def policy_gradient(masks: Tensor, rewards: Tensor, logits: Tensor, baseline: str) -> Tensor:
    """REINFORCE's estimate (b, N) of the gradient of each image's expected reward with respect to its logits.

    PIN's eqs 8 to 10 weight the sampled rewards by P(q) once more; that counts P twice, and P of a mask of 2500 bits
    is below the smallest double. The gradient of log P is what the released code uses, and we.
    """
    return torch.einsum("kb,kbn->bn", advantages(rewards, baseline), masks - logits.sigmoid()) / len(masks)


def exact_gradient(weights: Tensor, logits: Tensor, penalty: float) -> Tensor:
    """Gradient of the expected SQUARED reward, in closed form: -p (1-p) (w + penalty). What REINFORCE must hit."""
    p = logits.sigmoid()
    return -p * (1 - p) * (weights + penalty)
