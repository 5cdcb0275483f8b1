"""PIN's baselines as pages 04 to 06 share them: built, trained on PIN's own faces, kept."""

from functools import cached_property

from torch import nn

from lib.book.run import per_profile
from lib.data.examples import LabelledImages
from lib.defences.base import Defended
from lib.defences.hgd import Denoiser
from lib.defences.magnet import MagNet
from lib.defences.pixel import PixelDefend
from lib.defences.quilting import Quilting, patch_bank
from lib.defences.tvm import TotalVariation
from lib.models.base import Recogniser
from lib.models.wrappers import GrayInput
from lib.studies.base import Study
from lib.studies.pin.baseline_training import (
    PixelNetwork,
    robust_model,
    train_guided,
    train_magnet,
    train_pixels,
    train_robust,
)
from lib.studies.pin.study import PIN
from lib.training.loop import Trained

LEVELS = [0.04, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3]  # candidates of the hard threshold
# Rows for `run.scale`, beside those of `study`.
BASELINE_SIZES = {
    "patches": per_profile(100, 10_000, 100_000, 1_000_000),
    "magnet_width": per_profile(2, 16, 32, 32),
    "magnet_steps": per_profile(6, 1000, 6000, 200_000),
    "pixel_width": per_profile(4, 32, 64, 128),
    "pixel_layers": per_profile(2, 5, 8, 12),
    "pixel_steps": per_profile(4, 2500, 10_000, 200_000),
    "guided_width": per_profile(2, 8, 32, 64),
    "guided_steps": per_profile(4, 900, 4000, 100_000),
    "robust_steps": per_profile(2, 450, 3000, 30_000),
    "inner_steps": per_profile(1, 1, 10, 30),
    "levels": per_profile([0.05, 0.2], LEVELS, LEVELS, LEVELS),
}
PIXELS = (4, 8, 16)  # candidate reaches of PixelDefend, of 255; the page chooses on held-out pairs
CROP = 48  # side of the squares that the PixelCNN learns on below paper scale


class Baselines(Study):
    """The seven baselines of Table IV on PIN's material: networks trained once and kept.

    recogniser: the page's colour recogniser, bare.
    """

    LOOKS = 6  # at the held-out measure, in each training
    BATCH = 16

    def __init__(self, pin: PIN, recogniser: Recogniser):
        super().__init__(pin.run, pin.scale)
        self.pin = pin
        self.recogniser = recogniser
        self.gray = GrayInput(recogniser)

    def behind(self, defence: nn.Module) -> Recogniser:
        """The bare recogniser behind a defence."""
        return Defended(self.gray, defence).to(self.run.device).eval().requires_grad_(False)

    def quilting(self) -> Recogniser:
        """Image quilting (Guo et al.)."""
        return self.behind(Quilting(patch_bank(self.pin.material.learn.float() / 255, self.scale.patches)))

    def tvm(self) -> Recogniser:
        """Total variation minimisation (Guo et al.)."""
        return self.behind(TotalVariation())

    def pixels(self, reach: int) -> Recogniser:
        """PixelDefend (Song et al.) with a reach in 1/255."""
        part = self.pin.material
        crop = None if self.run.profile == "paper" else CROP
        network = PixelNetwork(self.scale.pixel_width, self.scale.pixel_layers, crop)
        recipe = self.recipe(self.scale.pixel_steps, self.BATCH, 1e-3, self.LOOKS)
        trained = self.trained(train_pixels, part.learn, part.held_out, network, recipe, self.device)
        return self.behind(PixelDefend(loaded(network.build(), trained), reach / 255))

    @cached_property
    def magnet_trained(self) -> Trained:
        """MagNet's training."""
        part = self.pin.material
        recipe = self.recipe(self.scale.magnet_steps, self.BATCH, 3e-3, self.LOOKS)
        return self.trained(train_magnet, part.learn, part.held_out, self.scale.magnet_width, recipe, self.device)

    def magnet(self) -> Recogniser:
        """MagNet's reformer (Meng and Chen)."""
        return self.behind(loaded(MagNet(self.scale.magnet_width, "relu"), self.magnet_trained))

    def guided(self) -> Recogniser:
        """HGD (Liao et al.)."""
        part = self.pin.material
        width = self.scale.guided_width
        recipe = self.recipe(self.scale.guided_steps, self.BATCH, 3e-3, self.LOOKS)
        trained = self.trained(train_guided, part.learn, part.held_out, self.gray, width, recipe, self.device)
        return self.behind(loaded(Denoiser(width), trained))

    def robust(self, kind: str) -> Recogniser:
        """Xie et al. ("xie") or adversarial MTER ("mter"): a recogniser of its own."""
        part = self.pin.material
        recipe = self.recipe(self.scale.robust_steps, self.BATCH, 1e-4, self.LOOKS, clip=1.0)
        faces = LabelledImages(part.learn, self.pin.faces.labels[part.learn_index])
        held_out = self.pin.held_pairs()
        trained = self.trained(train_robust, kind, self.recogniser, faces, held_out, self.scale.inner_steps, recipe)
        return loaded(robust_model(kind, self.recogniser), trained).to(self.run.device)


def loaded(model: nn.Module, trained: Trained) -> nn.Module:
    """The model with its trained weights, frozen, in eval mode."""
    model.load_state_dict(trained["weights"])
    return model.eval().requires_grad_(False)
