"""PIN's rivals as pages 04 to 06 share them: built, trained on PIN's own faces, kept."""

from types import SimpleNamespace

from torch import nn

from lib.book.run import per_profile
from lib.data.sets import ImageSet
from lib.defences.base import Defended
from lib.defences.hgd import Denoiser
from lib.defences.magnet import MagNet
from lib.defences.pixel import PixelCNN, PixelDefend
from lib.defences.quilting import Quilting, patch_bank
from lib.defences.tvm import TotalVariation
from lib.models.base import Recogniser
from lib.models.wrappers import GrayInput
from lib.studies.pin.baseline_training import robust_model, train_guided, train_magnet, train_pixels, train_robust
from lib.studies.pin.study import PIN
from lib.training.loop import Recipe, Trained

# Rows for `run.scale`, beside those of `pin_page`.
KNOBS = {
    "patches": per_profile(2000, 10_000, 100_000, 1_000_000),
    "magnet_width": per_profile(4, 16, 32, 32),
    "magnet_steps": per_profile(20, 1000, 6000, 200_000),
    "pixel_width": per_profile(8, 32, 64, 128),
    "pixel_layers": per_profile(2, 5, 8, 12),
    "pixel_steps": per_profile(10, 2500, 10_000, 200_000),
    "guided_width": per_profile(4, 8, 32, 64),
    "guided_steps": per_profile(10, 900, 4000, 100_000),
    "robust_steps": per_profile(3, 450, 3000, 30_000),
    "inner_steps": per_profile(1, 1, 10, 30),
}
PIXELS = (4, 8, 16)  # candidate reaches of PixelDefend, of 255; the page chooses on held-out pairs
CROP = 48  # side of the squares that the PixelCNN learns on below paper scale


class Baselines:
    """The seven rivals of Table IV on PIN's material: networks trained once and kept.

    recogniser: the page's colour recogniser, bare.
    """

    def __init__(self, pin: PIN, faces: ImageSet, recogniser: Recogniser, scale: SimpleNamespace):
        self.pin = pin
        self.faces = faces
        self.recogniser = recogniser
        self.scale = scale
        self.run = pin.run
        self.gray = GrayInput(recogniser)

    def recipe(self, steps: int, rate: float, batch: int = 16, **more: object) -> Recipe:
        """A recipe at this scale."""
        return Recipe(steps, batch, rate, check_every=max(1, steps // 6), amp=self.run.device.type == "cuda", **more)

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
        s = self.scale
        crop = None if self.run.profile == "paper" else CROP
        recipe = self.recipe(s.pixel_steps, 1e-3)
        trained = self.run.kept(
            train_pixels, part.learn, part.held_out, s.pixel_width, s.pixel_layers, crop, recipe, str(self.run.device)
        )
        return self.behind(PixelDefend(loaded(PixelCNN(s.pixel_width, s.pixel_layers), trained), reach / 255))

    def magnet_trained(self) -> Trained:
        """MagNet's training."""
        part = self.pin.material
        recipe = self.recipe(self.scale.magnet_steps, 3e-3)
        return self.run.kept(
            train_magnet, part.learn, part.held_out, self.scale.magnet_width, recipe, str(self.run.device)
        )

    def magnet(self) -> Recogniser:
        """MagNet's reformer (Meng and Chen)."""
        return self.behind(loaded(MagNet(self.scale.magnet_width, "relu"), self.magnet_trained()))

    def guided(self) -> Recogniser:
        """HGD (Liao et al.)."""
        part = self.pin.material
        s = self.scale
        recipe = self.recipe(s.guided_steps, 3e-3)
        trained = self.run.kept(
            train_guided, part.learn, part.held_out, self.gray, s.guided_width, recipe, str(self.run.device)
        )
        return self.behind(loaded(Denoiser(s.guided_width), trained))

    def robust(self, kind: str) -> Recogniser:
        """Xie et al. ("xie") or adversarial MTER ("mter"): a recogniser of its own."""
        part = self.pin.material
        s = self.scale
        recipe = self.recipe(s.robust_steps, 1e-4, clip=1.0)
        labels = self.faces.labels[part.learn_index]
        trained = self.run.kept(
            train_robust, kind, self.recogniser, part.learn, labels, self.pin.held_pairs(), s.inner_steps, recipe
        )
        return loaded(robust_model(kind, self.recogniser), trained).to(self.run.device)

    def all(self, reach: int = PIXELS[-1]) -> dict[str, Recogniser]:
        """Every rival by its name in Table IV."""
        return {
            "Quilting": self.quilting(),
            "TVM": self.tvm(),
            "PixelDefend": self.pixels(reach),
            "MagNet": self.magnet(),
            "Adv. MTER": self.robust("mter"),
            "HGD": self.guided(),
            "Xie et al.": self.robust("xie"),
        }


OFFLINE_ONLY = ("Quilting", "TVM", "PixelDefend")  # as in the source


def loaded(model: nn.Module, trained: Trained) -> nn.Module:
    """The model with its trained weights, frozen, in eval mode."""
    model.load_state_dict(trained["weights"])
    return model.eval().requires_grad_(False)
