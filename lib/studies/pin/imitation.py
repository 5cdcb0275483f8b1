"""A teacher for PIN's agent that the source does not have: the oracle's masks. What could its network learn at all?"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.defences.pca import Basis
from lib.seeds import seeded
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.studies.pin.networks import Agent
from lib.studies.pin.reinforce import noisy_choices
from lib.studies.pin.selection import oracle_mask
from lib.studies.pin.training import AgentPlan
from lib.training.loop import Trained, fit


@dataclass(frozen=True, eq=False)
class Imitation:
    """Cross-entropy between the agent's probabilities and the oracle's mask of each noisy face, in bits a face."""

    images: Tensor
    basis: Basis
    penalty: float
    intensity: float = PIN_INTENSITY

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss on the faces `index` (b,) of `images` (n, 1, H, W), uint8 or in [0,1]."""
        found = noisy_choices(self.images[index], self.basis, self.intensity, generator)
        masks = oracle_mask(found.weights, found.energy, self.penalty)
        loss = F.binary_cross_entropy_with_logits(model(found.noisy).float(), masks, reduction="none")
        return {"loss": loss.sum(1).mean() / torch.log(torch.tensor(2.0)).item()}


def train_imitator(learn: Tensor, held_out: Tensor, basis: Basis, plan: AgentPlan) -> Trained:
    """PIN's agent (without its autoencoder) that is told the oracle's masks: {"weights", "history"}."""
    recipe = plan.recipe
    side = round(len(basis.mean) ** 0.5)
    with seeded(recipe.seed):
        model = Agent(len(basis), plan.width, plan.hidden, size=(side, side)).to(basis.vectors.device)
    test = Imitation(held_out, basis, plan.penalty)
    error = partial(held_out_bits, test)
    loss = Imitation(torch.cat([learn, learn.flip(3)]), basis, plan.penalty)
    history = fit(model, loss, 2 * len(learn), recipe, held_out=error, label="training the imitator")
    return {"weights": model.state_dict(), "history": history}


@torch.no_grad()
def held_out_bits(loss: Imitation, model: nn.Module, batch: int = 32) -> float:
    """Mean of the loss over all its images, with the same noise on each call."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for index in torch.arange(len(loss.images)).split(batch):
        total += loss(model, index, generator)["loss"].item() * len(index)
    return total / len(loss.images)
