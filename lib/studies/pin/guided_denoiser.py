"""High-level representation guidance (Liao et al., CVPR 2018): a denoiser learns to keep embeddings.

adversarial = run.kept(craft, recogniser, images, 0.04, seed)
fit(Denoiser(), HighLevelGuidance(adversarial, embed_all(recogniser, images), recogniser), len(images), recipe)
"""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Intensity
from lib.attacks.embeddings import verification
from lib.attacks.guard import frozen
from lib.attacks.loop import in_batches
from lib.attacks.objectives import embedder
from lib.attacks.settings import PGD
from lib.errors import WorkbookError
from lib.models.base import batch_size, embed_all, evaluating
from lib.studies.pin.attacks import PIN_INTENSITY

BEYOND = 1.25  # the strongest example, as a multiple of the intensity to be defended against


def craft(
    recogniser: nn.Module,
    images: Tensor,
    intensity: float = PIN_INTENSITY,
    seed: int = 0,
    steps: tuple[int, ...] = (1, 2, 4, 8),
) -> Tensor:
    """Adversarial examples (n, C, H, W), float16, one of each of `images` in [0,1], made on the bare recogniser.

    As in Liao et al. (section 4.1) they are made once, before training, by one-step and iterative sign attacks of many
    strengths: here each image's intensity is uniform in [0, 1.25 `intensity`], and an equal share of the images takes
    each number of `steps`. The source attacks class labels; a recogniser has none, so half of the images move away
    from their own embedding (from a random start, as the gradient is zero at the image itself) and half towards that
    of another image drawn at random: the two kinds of PIN's pairs. float16 rounds by at most 0.06/255.
    """
    if len(images) < 2:
        raise WorkbookError(f"Examples are made towards other images, so at least two are needed, not {len(images)}.")
    generator = torch.Generator().manual_seed(seed)
    n = len(images)
    own = embed_all(recogniser, images)
    away = torch.rand(n, generator=generator) < 0.5
    other = (torch.arange(n) + torch.randint(1, n, (n,), generator=generator)) % n
    goal = verification(recogniser, torch.where(away[:, None].to(own.device), own, own[other.to(own.device)]), away)
    budget = Intensity(BEYOND * intensity * torch.rand(n, generator=generator))
    made = torch.empty_like(images, dtype=torch.float16)
    for count, rows in zip(steps, torch.randperm(n, generator=generator).chunk(len(steps)), strict=False):
        attack = PGD.but(steps=count, step=f"2*eps/{count + 1}")  # one step of eps; more get shorter
        walked = in_batches(
            goal.rows(rows.to(own.device)), images[rows], budget.rows(rows), attack, generator=generator
        )
        made[rows] = walked.half()
    return made


@dataclass(frozen=True, eq=False)
class HighLevelGuidance:
    """L1 distance between the recogniser's embeddings of the denoised adversarial and of the clean image.

    Liao et al., section 3.3, the feature-guided denoiser (FGD). Its "top feature" is here the unit embedding, as only
    angles count in verification. No pixel loss. adversarial (n, C, H, W) in [0,1], any float type, from `craft`;
    features (n, d), the unit embeddings of the clean images (computed once); recogniser: stays as it is.
    """

    adversarial: Tensor
    features: Tensor
    recogniser: nn.Module

    def __post_init__(self) -> None:
        """Refuse what does not belong together."""
        if len(self.adversarial) != len(self.features):
            raise WorkbookError(
                f"{len(self.adversarial)} adversarial images came with {len(self.features)} clean embeddings: "
                "give one of each per face."
            )

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> dict[str, Tensor]:
        """The loss of the denoiser `model` on the examples `index` (b,)."""
        device = next(model.parameters()).device
        images = self.adversarial[index.to(self.adversarial.device)].to(device, torch.float32)
        with frozen(self.recogniser):
            found = embedder(self.recogniser)(model(images)).float()
        wanted = self.features[index.to(self.features.device)].to(device)
        return {"loss": (found - wanted).abs().sum(1).mean()}

    @torch.no_grad()
    def error(self, model: nn.Module) -> float:
        """Mean loss over all examples in eval mode: that of held-out people is `fit`'s `held_out`."""
        size = batch_size(None, next(model.parameters()).device)
        with evaluating(model):
            parts = torch.arange(len(self.features)).split(size)
            total = sum(len(part) * self(model, part, torch.Generator())["loss"].item() for part in parts)
        return total / len(self.features)
