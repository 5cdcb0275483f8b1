"""Projection on eigenvectors that are chosen for each image: PIN's learnable PCA, a hard threshold, given masks."""

import torch
from torch import Tensor, nn

from lib.defences.pca import Basis
from lib.errors import WorkbookError, choices

SURROGATES = ("concrete", "straight-through", "bpda", "mean")


class Projection(nn.Module):
    """x -> B diag(q) B^T (x - m) + m with a mask q (n, N) of its own for every image; subclasses say which.

    All masks of a batch are one elementwise product between two matrix products: no loop over images.
    """

    def __init__(self, basis: Basis):
        super().__init__()
        self.register_buffer("vectors", basis.vectors)
        self.register_buffer("mean", basis.mean)

    def coefficients(self, x: Tensor) -> Tensor:
        """B^T (x - m) (n, N)."""
        if x[0].numel() != len(self.mean):
            raise WorkbookError(f"This basis is of images with {len(self.mean)} pixels, but {x[0].numel()} came.")
        return (x.flatten(1) - self.mean) @ self.vectors

    def rebuild(self, kept: Tensor, like: Tensor) -> Tensor:
        """Images in the shape of `like` from masked coefficients (n, N)."""
        return (kept @ self.vectors.T + self.mean).view_as(like)


class HardThreshold(Projection):
    """Keep the coefficients whose size exceeds `level` (units of [0,1] pixels): PCA's image-wise counterpart."""

    def __init__(self, basis: Basis, level: float):
        super().__init__(basis)
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) to projections; the gradient takes the mask as given."""
        kept = self.coefficients(x)
        return self.rebuild(kept * (kept.abs() > self.level), x)

    def extra_repr(self) -> str:
        """Shown as HardThreshold(level=0.12)."""
        return f"level={self.level}"


class LearnablePCA(Projection):
    """PIN (section IV): an agent gives a probability for each eigenvector, and the mask is drawn anew at each pass.

    agent: images (n, 1, H, W) to logits (n, N). Draws come from torch's global generator, as dropout's do: measure
    inside `seeded(seed)`. Without gradients the mask is always the real, sampled one. With gradients, `surrogate` says
    how they pass the draw:
    "concrete" (binary concrete at `temperature`: PIN's "reparameterisation", which it does not specify);
    "straight-through" (sampled forward, probability backward); "bpda" (sampled forward; backward a mask thresholded at
    0.5, the agent left out: PIN's Table XIV); "mean" (the probability in the mask's place).
    """

    def __init__(self, basis: Basis, agent: nn.Module, surrogate: str = "concrete", temperature: float = 0.5):
        super().__init__(basis)
        if surrogate not in SURROGATES:
            raise WorkbookError(f"A surrogate is one of {choices(SURROGATES)}, not '{surrogate}': choose one.")
        if temperature <= 0:
            raise WorkbookError(f"A temperature is above 0, but {temperature} came: 0.5 is usual.")
        self.agent, self.surrogate, self.temperature = agent, surrogate, temperature

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) in [0,1] to their inactivated versions; values may leave [0,1], as in PIN."""
        found = self.coefficients(x)
        if not torch.is_grad_enabled():
            return self.rebuild(found * torch.bernoulli(self.agent(x).sigmoid()), x)
        if self.surrogate != "bpda":
            return self.rebuild(found * self.relaxed(self.agent(x)), x)
        with torch.no_grad():
            p = self.agent(x).sigmoid()
        smooth = self.rebuild(found * (p > 0.5), x)
        with torch.no_grad():
            gap = self.rebuild(found * torch.bernoulli(p), x) - smooth
        return smooth + gap

    def relaxed(self, logits: Tensor) -> Tensor:
        """A mask (n, N) through which gradients reach the agent."""
        p = logits.sigmoid()
        if self.surrogate == "mean":
            return p
        if self.surrogate == "straight-through":
            return p + (torch.bernoulli(p.detach()) - p).detach()
        uniform = torch.rand_like(logits).clamp_(1e-6, 1 - 1e-6)
        return ((logits + uniform.logit()) / self.temperature).sigmoid()

    def extra_repr(self) -> str:
        """Shown with its surrogate, which a kept result must depend on."""
        return f"surrogate={self.surrogate}, temperature={self.temperature}"
