"""What ACL-triplet trains: an encoder by adversarial contrast without labels, then by triplets. Plain results."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models import Recogniser
from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d, copy_route, route
from lib.models.encoders import FaceEncoder, Projected, projector
from lib.seeds import seeded
from lib.studies.acl_triplet.finetuning import TripletFineTuning
from lib.studies.acl_triplet.pretraining import some_labels
from lib.training.adversarial_contrast import AdversarialContrast
from lib.training.loop import Measure, Recipe, Trained, fit
from lib.transforms.views import FACES


@dataclass(frozen=True)
class Network:
    """The encoder's size; the source's is depth 50, width 64. dual: one batch normalisation for each kind of input."""

    side: int
    depth: int = 50
    width: int = 64
    stem: str = "imagenet"
    dim: int = 128
    dual: bool = True

    def encoder(self, seed: int = 0) -> FaceEncoder:
        """A new encoder of faces (n, 3, side, side)."""
        norm = DualBatchNorm2d if self.dual else nn.BatchNorm2d
        with seeded(seed):
            encoder = FaceEncoder((self.side, self.side), self.depth, self.width, self.stem, self.dim, norm)
        return encoder.to(memory_format=torch.channels_last)

    def projected(self, seed: int = 0) -> Projected:
        """A new encoder with a projector of two layers (section 3.2), normalised as in ACL's code."""
        encoder = self.encoder(seed)
        with seeded(seed + 1):
            norm = DualBatchNorm1d if self.dual else nn.BatchNorm1d
            return Projected(encoder, projector(encoder.trunk.dim, 2 * self.dim, self.dim, norm=norm))

    def loaded(self, trained: Trained) -> FaceEncoder:
        """The encoder with trained weights, frozen, in eval mode."""
        encoder = self.encoder()
        encoder.load_state_dict(trained["weights"])
        return encoder.eval().requires_grad_(False)


class RoutedEncoder(Recogniser):
    """A trained encoder as a recogniser of its own: all pictures pass the route `way`, attacked or not."""

    def __init__(self, encoder: FaceEncoder, way: str = "adversarial"):
        super().__init__(f"{encoder.name}, {way} route", encoder.size, 0.0, 1.0, encoder.channels)
        self.encoder = encoder
        self.way = way

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, d) of images (n, C, H, W) in [0,1]."""
        with route(self.encoder, self.way):
            return self.encoder(x)


@dataclass(frozen=True, eq=False)
class Training:
    """What both stages train alike: a network, by a recipe, looked at by a measure of people held out."""

    network: Network
    recipe: Recipe
    measure: Measure | None = None


def pretrain(
    images: Tensor,
    training: Training,
    labels: LongTensor | None = None,
    share: float = 0.0,
    variant: str = "single",
    device: str = "cpu",
) -> Trained:
    """Stage 1 (Algorithm 1) on `images` (n, 3, H, W): the encoder's weights and the history.

    share: of the people whose labels (n,) are put back into the contrastive loss (section 4.4). variant: see
    `AdversarialContrast`.
    """
    if share > 0 and labels is None:
        raise WorkbookError(f"A share of {share} of the people is to be labelled, but no labels came: give them.")
    recipe = training.recipe
    model = training.network.projected(recipe.seed).to(device)
    known = some_labels(labels, share, recipe.seed) if share > 0 else None
    loss = AdversarialContrast(images, FACES, known, variant, partners=known is not None)
    history = fit(model, loss, len(images), recipe, held_out=training.measure, label="contrastive pre-training")
    return {"weights": model.encoder.state_dict(), "history": history}


def tune(
    images: Tensor,
    labels: LongTensor,
    training: Training,
    start: Trained | None = None,
    adversarial: bool = True,
    device: str = "cpu",
) -> Trained:
    """Stage 2 (Algorithm 2), or standard triplet training: weights and history. labels (n,): people; -1 is left out.

    start: a training whose weights come first; None starts anew. A standard training trains the clean normalisations
    alone and leaves the adversarial ones as copies of them.
    """
    recipe = training.recipe
    model = training.network.encoder(recipe.seed)
    if start is not None:
        model.load_state_dict(start["weights"])
    known = labels >= 0
    loss = TripletFineTuning(images[known], labels[known], adversarial=adversarial)
    label = "triplet fine-tuning" if adversarial else "standard triplet training"
    history = fit(model.to(device), loss, len(loss), recipe, held_out=training.measure, label=label)
    if not adversarial:
        copy_route(model)
    return {"weights": model.state_dict(), "history": history}
