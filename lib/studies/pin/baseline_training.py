"""Training the baselines of Table IV on PIN's faces: MagNet, PixelDefend, HGD, Xie et al., adversarial MTER."""

import copy
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from lib.data.examples import ImagePairs, LabelledImages
from lib.defences.feature_denoising import denoise_features
from lib.defences.hgd import Denoiser
from lib.defences.magnet import MagNet
from lib.defences.pixel import PixelCNN
from lib.errors import WorkbookError
from lib.losses.margins import class_means
from lib.models.base import Recogniser, embed_all
from lib.models.wrappers import GrayInput
from lib.seeds import seeded
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.studies.pin.guided_denoiser import HighLevelGuidance, craft
from lib.studies.pin.held_out import HeldOutError
from lib.studies.pin.robust_recognisers import AdversarialClassification, TripletEmbedding
from lib.training.loop import Recipe, Trained, fit
from lib.training.purifiers import Denoising, PixelLikelihood, mean_loss

MAGNET_NOISE = 0.025  # standard deviation of MagNet's noise on colour images, in units of [0,1]


def train_magnet(learn: Tensor, held_out: Tensor, width: int, recipe: Recipe, device: str) -> Trained:
    """MagNet's autoencoder. ReLU in place of its sigmoid, which needs far more steps to leave its start."""
    with seeded(recipe.seed):
        model = MagNet(width, activation="relu").to(device)
    loss, error = (Denoising(faces, sigma=MAGNET_NOISE) for faces in (learn, held_out))
    history = fit(model, loss, len(learn), recipe, held_out=partial(mean_loss, error), label="training MagNet")
    return {"weights": model.state_dict(), "history": history}


@dataclass(frozen=True)
class PixelNetwork:
    """PixelDefend's density model: its width and depth, and the side of the squares that it learns on (None: all)."""

    width: int
    layers: int
    crop: int | None = None

    def build(self) -> PixelCNN:
        """An untrained one."""
        return PixelCNN(self.width, self.layers)


def train_pixels(learn: Tensor, held_out: Tensor, network: PixelNetwork, recipe: Recipe, device: str) -> Trained:
    """PixelDefend's density model, by likelihood."""
    with seeded(recipe.seed):
        model = network.build().to(device)
    crop = network.crop
    error = partial(mean_loss, PixelLikelihood(held_out[:64], crop))
    history = fit(
        model, PixelLikelihood(learn, crop), len(learn), recipe, held_out=error, label="training the PixelCNN"
    )
    return {"weights": model.state_dict(), "history": history}


def train_guided(
    learn: Tensor, held_out: Tensor, recogniser: Recogniser, width: int, recipe: Recipe, device: str
) -> Trained:
    """HGD's U-Net, on examples crafted beforehand on the bare recogniser (which takes gray images)."""
    losses = []
    for seed, faces in enumerate((learn, held_out)):
        clean = faces.float() / 255
        losses.append(HighLevelGuidance(craft(recogniser, clean, seed=seed), embed_all(recogniser, clean), recogniser))
    with seeded(recipe.seed):
        model = Denoiser(width).to(device)
    error = partial(HighLevelGuidance.error, losses[1])
    history = fit(model, losses[0], len(learn), recipe, held_out=error, label="training HGD")
    return {"weights": model.state_dict(), "history": history}


def robust_model(kind: str, recogniser: Recogniser, seed: int = 0) -> GrayInput:
    """A trainable copy of a colour recogniser for gray images: "xie" with denoising blocks, "mter" as it is."""
    if kind == "xie":
        return GrayInput(denoise_features(recogniser, pool=2, seed=seed))
    if kind != "mter":
        raise WorkbookError(f"A robust recogniser is 'xie' or 'mter', not '{kind}': choose one.")
    model = copy.deepcopy(recogniser).requires_grad_(True)
    model.name = f"{recogniser.name} with adversarial MTER"
    return GrayInput(model)


def train_robust(
    kind: str, recogniser: Recogniser, faces: LabelledImages, held_out: ImagePairs, steps: int, recipe: Recipe
) -> Trained:
    """Xie et al. ("xie") or adversarial MTER ("mter"): `recogniser` (colour) fine-tuned on labelled gray faces.

    faces: uint8, labelled by person. held_out: gray pairs, to choose on. steps: of the inner attack; with few of them
    MTER's hinge of 0.2 is hardly ever above zero at PIN's intensity, so below the source's ten its margin is 1 and its
    weight 10.
    """
    model = robust_model(kind, recogniser, recipe.seed)
    learn = faces.x
    people = faces.labels.unique(return_inverse=True)[1]
    prototypes = class_means(embed_all(GrayInput(recogniser), learn.float() / 255), people)
    if kind == "xie":
        loss = AdversarialClassification(learn, people, prototypes, steps=steps)
    else:
        margin, weight = (0.2, 1.0) if steps >= 10 else (1.0, 10.0)
        loss = TripletEmbedding(learn, people, prototypes, PIN_INTENSITY, margin, weight, steps)
    history = fit(model, loss, len(learn), recipe, held_out=HeldOutError(held_out), label=f"training {model.name}")
    return {"weights": model.state_dict(), "history": history}
