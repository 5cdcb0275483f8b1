"""One trainer for all methods of self-adversarial training, and what a step of each costs."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lib.cache import digest
from lib.dependencies import code_of
from lib.errors import WorkbookError, choices
from lib.seeds import seeded
from lib.studies.robust_ssl.adversarial.advcl import AdvCL
from lib.studies.robust_ssl.adversarial.deacl import DeACL
from lib.studies.robust_ssl.adversarial.dynacl import DynACL
from lib.studies.robust_ssl.adversarial.methods import ACL, Aids, Options, SelfAdversarial, SimCLR
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork, routed_network
from lib.studies.robust_ssl.adversarial.rocl import RoCL
from lib.studies.robust_ssl.networks import Sizes
from lib.training.loop import Measure, Recipe, Trained, fit
from lib.training.passes import count_passes

SELF_AT: dict[str, type[SelfAdversarial]] = {kind.name: kind for kind in (SimCLR, RoCL, ACL, AdvCL, DeACL, DynACL)}


def self_at(name: str) -> type[SelfAdversarial]:
    """The method of that name; an unknown one is an error."""
    if name not in SELF_AT:
        raise WorkbookError(f"The methods are {choices(list(SELF_AT))}, not '{name}': choose one.")
    return SELF_AT[name]


@dataclass(frozen=True, eq=False)
class SelfATPlan:
    """What is trained: a method (a class, so that other pages bring their own), its options, aids and network."""

    method: type[SelfAdversarial]
    sizes: Sizes = field(default_factory=Sizes)
    options: Options | None = None
    aids: Aids = field(default_factory=Aids)

    @property
    def fingerprint(self) -> str:
        """What keys a kept training: the code of this method, and not that of the others."""
        aids = [self.aids.teacher, self.aids.pseudo]
        return digest(code_of(self.method), self.sizes, self.options, aids)

    def model(self, seed: int = 0) -> RoutedNetwork:
        """A new network with the norms and the projector of the method."""
        return routed_network(self.sizes, self.method.norms, self.method.layers, seed)

    def loss(self, images: Tensor, model: RoutedNetwork, seed: int = 0) -> SelfAdversarial:
        """The method's loss of images (n, 3, S, S) uint8; its own first weights follow from the seed."""
        with seeded(seed):
            return self.method(images, model, self.options, self.aids)


def train_self_at(
    images: Tensor, plan: SelfATPlan, recipe: Recipe, watch: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A network trained on images (n, 3, S, S) uint8: "weights" of the encoder, all of the "network", "history"."""
    model = plan.model(recipe.seed).to(device)
    loss = plan.loss(images, model, recipe.seed)
    history = fit(model, loss, len(images), recipe, held_out=watch, label=f"training {plan.method.name}")
    return {"weights": model.encoder.state_dict(), "network": model.state_dict(), "history": history}


def one_step(model: RoutedNetwork, loss: SelfAdversarial, batch: int) -> None:
    """Views, attack, loss and gradients for the first `batch` images: all of a step but the optimiser."""
    model.train().zero_grad()
    found = loss(model, torch.arange(batch), torch.Generator().manual_seed(0))
    found["loss"].backward()


def step_passes(images: Tensor, plan: SelfATPlan, batch: int = 4) -> dict[str, float]:
    """Passes of one step for each training image, by `lib.training.passes.KINDS`, counted on a new network.

    Every network counts that the step asks: a teacher, a momentum copy.
    """
    model = plan.model()
    loss = plan.loss(images[:batch], model)
    asked = [module for top in (model, loss) for module in top.modules() if hasattr(module, "trunk")]
    return count_passes(lambda: one_step(model, loss, batch), [encoder.trunk.stem for encoder in asked], batch)
