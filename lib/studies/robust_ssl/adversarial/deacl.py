"""DeACL (Zhang et al. 2022): a plain encoder is trained first, then a robust one follows its features."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor

from lib.attacks.embeddings import feature_distance
from lib.errors import WorkbookError
from lib.models.base import evaluating
from lib.studies.robust_ssl.adversarial.methods import Aids, Options, SelfAdversarial
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.strength import climb
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.crops import crop_flip


@dataclass(frozen=True)
class DeACLOptions(Options):
    """views: weak ones, padded crop and flip. weight: of the agreement of clean and attacked features."""

    views: Callable[[Tensor, Generator], Tensor] = crop_flip
    weight: float = 2.0


class DeACL(SelfAdversarial):
    """Minus the cosine with a fixed teacher, and with its own features of the attacked picture: no negatives needed."""

    name = "DeACL"
    norms = 1
    layers = 0
    Options = DeACLOptions

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """The teacher, which does not learn."""
        if aids.teacher is None:
            raise WorkbookError("DeACL follows a trained encoder: give one as its teacher.")
        self.teacher = aids.teacher.requires_grad_(False)

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", "agreement", "stability"}: the cosine with the teacher and that of clean with attacked features."""
        x = self.view(pixels_of(self.images, index, model), generator)
        with torch.no_grad(), evaluating(self.teacher):
            target = self.teacher(x)
        moved = climb(model, feature_distance(model.encoder, target, "cosine"), x, self.given.strength, generator)
        clean, attacked = model.encoder(x), model.encoder(moved)
        agreement = F.cosine_similarity(clean, target).mean()
        stability = F.cosine_similarity(attacked, clean).mean()
        loss = -agreement - self.given.weight * stability
        return {"loss": loss, "agreement": agreement.detach(), "stability": stability.detach()}
