"""Training PIN's agent by policy gradients, its reward taken in coefficient space (PIN, section IV-B, eqs 3 to 10)."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import noise_of
from lib.defences.pca import Basis
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.studies.pin.selection import oracle_mask, policy_gradient, reward, weights_of

BATCH = 32  # faces per pass
UNIT = 2.0  # the source's images lie in [-1,1]: its coefficients are twice those of [0,1]


@dataclass(frozen=True, eq=False)
class Choices:
    """What the reward needs of some faces: their noisy versions (n, 1, H, W), weights (n, N), energy (n,)."""

    noisy: Tensor
    weights: Tensor
    energy: Tensor


def noisy_choices(images: Tensor, basis: Basis, intensity: float, generator: torch.Generator) -> Choices:
    """Images (n, 1, H, W), uint8 or in [0,1], with fresh noise; weights and energy in the source's units ([-1,1])."""
    device = basis.vectors.device
    clean = images.to(device).float() / (255 if images.dtype == torch.uint8 else 1)
    noise = noise_of(clean, intensity, generator)
    centred = clean.flatten(1) - basis.mean
    both = torch.cat([centred, noise.flatten(1)]) @ basis.vectors  # once: few faces cost what reading the basis costs
    c, of_noise = both.chunk(2)
    energy = centred.square().sum(1)
    return Choices(clean + noise, UNIT**2 * weights_of(c + of_noise, c), UNIT**2 * energy)


@dataclass(frozen=True, eq=False)
class Selection:
    """REINFORCE on PIN's reward: for each face `draws` masks, one policy gradient.

    images: (n, 1, H, W) uint8 or in [0,1]. penalty: PIN's lambda (0.015). norm: "l2" (eq. 3), "squared", "mean" (the
    released code). baseline: "batch" (eq. 10), "none", "image", "leave-one-out". pull: weight of the squared logits. It
    is ours: where a probability is 0 or 1 no draw ever differs and the policy gradient is dead.
    """

    images: Tensor
    basis: Basis
    penalty: float = 0.015
    norm: str = "l2"
    baseline: str = "batch"
    draws: int = 30
    intensity: float = PIN_INTENSITY
    pull: float = 0.0

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Metrics of the faces `index` (b,): a loss whose gradient is the policy's, mean reward, mean mask size."""
        found = noisy_choices(self.images[index], self.basis, self.intensity, generator)
        logits = model(found.noisy).float()
        with torch.no_grad():
            p = logits.sigmoid()
            masks = torch.bernoulli(p.expand(self.draws, *p.shape))
            rewards = reward(masks, found.weights, found.energy, self.penalty, self.norm, pixels=found.noisy[0].numel())
            gradient = policy_gradient(masks, rewards, logits, self.baseline)
        loss = (self.pull * logits.square() - gradient * logits).sum(1).mean()
        return {"loss": loss, "reward": rewards.mean(), "size": masks.sum(-1).mean()}


@torch.no_grad()
def mean_reward(
    model: nn.Module, found: Choices, penalty: float, norm: str = "l2", draws: int = 4, seed: int = 0
) -> Tensor:
    """Mean reward (n,) over sampled masks of each face of `found`: how good the agent is."""
    generator = torch.Generator(found.weights.device).manual_seed(seed)
    pixels = found.noisy[0].numel()
    parts = []
    for rows in torch.arange(len(found.noisy)).split(BATCH):
        noisy = found.noisy[rows]
        weights = found.weights[rows]
        energy = found.energy[rows]
        p = model(noisy).float().sigmoid().expand(draws, len(noisy), -1)
        masks = torch.bernoulli(p, generator=generator)
        parts.append(reward(masks, weights, energy, penalty, norm, pixels).mean(0))
    return torch.cat(parts)


def oracle_reward(found: Choices, penalty: float, norm: str = "l2") -> Tensor:
    """Reward (n,) of the best mask of each face: the ceiling of every agent."""
    pixels = found.noisy[0].numel()
    masks = oracle_mask(found.weights, found.energy, penalty, norm, pixels)
    return reward(masks, found.weights, found.energy, penalty, norm, pixels)
