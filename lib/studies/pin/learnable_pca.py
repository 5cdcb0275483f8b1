"""Projection on eigenvectors that are chosen for each image: PIN's learnable PCA, a hard threshold, given masks."""

import torch
from torch import Tensor, nn

from lib.defences.pca import Basis, Projection, coefficients, rebuild
from lib.errors import WorkbookError, choices

SURROGATES = ("concrete", "straight-through", "bpda", "mean")


class HardThreshold(Projection):
    """Keep the coefficients whose size exceeds `level` (units of [0,1] pixels): PCA's image-wise counterpart."""

    def __init__(self, basis: Basis, level: float):
        super().__init__(basis)
        self.level = level

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) to projections; the gradient takes the mask as given."""
        kept = coefficients(x, self)
        return rebuild(kept * (kept.abs() > self.level), self, x)

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
        self.agent = agent
        self.surrogate = surrogate
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:
        """Images (n, 1, H, W) in [0,1] to their inactivated versions; values may leave [0,1], as in PIN."""
        found = coefficients(x, self)
        if not torch.is_grad_enabled():
            return rebuild(found * torch.bernoulli(self.agent(x).sigmoid()), self, x)
        if self.surrogate != "bpda":
            return rebuild(found * self.relaxed(self.agent(x)), self, x)
        with torch.no_grad():
            p = self.agent(x).sigmoid()
        smooth = rebuild(found * (p > 0.5), self, x)
        with torch.no_grad():
            gap = rebuild(found * torch.bernoulli(p), self, x) - smooth
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
