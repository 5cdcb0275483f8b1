"""What PIN trains (section IV): the denoising autoencoder, then the agent, on people that no test pair holds."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import LongTensor, Tensor, nn

from lib.book.run import Run
from lib.data.parts import deal_people, people_with
from lib.data.sets import ImageSet
from lib.defences.pca import Basis, fit_pca
from lib.seeds import seeded
from lib.studies.pin.attacks import PIN_INTENSITY
from lib.studies.pin.networks import Agent, CoefficientAgent, DenoisingAutoencoder
from lib.studies.pin.reinforce import Choices, Selection, mean_reward, noisy_choices
from lib.training.loop import Recipe, Trained, fit
from lib.training.purifiers import Denoising, mean_loss
from lib.transforms.colour import to_gray

GALLERY_IMAGES = 10  # pictures a person needs for PIN's MegaFace protocol


@dataclass(frozen=True, eq=False)
class Material:
    """Faces of people who occur in no test pair, everybody in one part only.

    basis: from the part "fit". learn, held_out (n, 1, H, W) uint8: to train on, to choose on. learn_index, held_index:
    their positions in the set. gallery: people kept for the protocol with many pictures of each.
    """

    basis: Basis
    learn: Tensor
    held_out: Tensor
    learn_index: LongTensor
    held_index: LongTensor
    gallery: LongTensor


@dataclass(frozen=True)
class Shares:
    """How faces are dealt: people of the gallery, images to fit, hold out and learn (-1: the rest), eigenvectors."""

    gallery: int
    fit_images: int
    held_images: int
    learn_images: int
    components: int


def material(run: Run, faces: ImageSet, index: LongTensor, shares: Shares) -> Material:
    """Deal the images `index` (of people in no test pair) and fit the eigenvectors, on the device of the run."""
    device = run.device
    people = people_with(faces.labels, index, GALLERY_IMAGES, shares.gallery)
    rest = index[~torch.isin(faces.labels[index], people)]
    sizes = {"fit": shares.fit_images, "held out": shares.held_images, "learn": shares.learn_images}
    parts = deal_people(faces.labels, rest, sizes)
    fitted = run.kept(eigenvectors, faces, parts["fit"], shares.components, str(device))
    basis = Basis(**{name: value.to(device) for name, value in fitted.items()})
    learn, held = (gray_bytes(faces, parts[name]) for name in ("learn", "held out"))
    return Material(basis, learn, held, parts["learn"], parts["held out"], people)


def eigenvectors(faces: ImageSet, index: LongTensor, components: int, device: str) -> dict[str, Tensor]:
    """`fit_pca` of the gray faces at `index`, for `kept`."""
    return fit_pca(to_gray(faces.images(index)).to(device), components)


def gray_bytes(faces: ImageSet, index: LongTensor) -> Tensor:
    """Gray images (n, 1, H, W) as uint8: what training reads, a quarter of the memory."""
    return (255 * to_gray(faces.images(index))).round().to(torch.uint8)


def train_denoiser(learn: Tensor, held_out: Tensor, width: int, recipe: Recipe, device: str) -> Trained:
    """PIN's DAE (Table I) on noisy faces of intensity 0.04. The source does not print its loss; mean squared error."""
    with seeded(recipe.seed):
        model = DenoisingAutoencoder(width).to(device)
    loss = Denoising(learn, PIN_INTENSITY)
    error = partial(mean_loss, Denoising(held_out, PIN_INTENSITY))
    history = fit(model, loss, len(learn), recipe, held_out=error, label="training the autoencoder")
    return {"weights": model.state_dict(), "history": history}


def denoiser_from(trained: Trained, width: int) -> DenoisingAutoencoder:
    """The trained autoencoder, in eval mode."""
    model = DenoisingAutoencoder(width)
    model.load_state_dict(trained["weights"])
    return model.eval()


@dataclass(frozen=True)
class AgentPlan:
    """How an agent is built and taught; width 64 and hidden 512 are the source's. kind "coefficients" is ours."""

    recipe: Recipe
    width: int = 64
    hidden: int = 512
    penalty: float = 0.015
    norm: str = "l2"
    baseline: str = "batch"
    draws: int = 30
    pull: float = 0.0
    kind: str = "image"

    def but(self, **changes: object) -> "AgentPlan":
        """This plan with some of it changed; a recipe's fields by `steps=`, `seed=`."""
        inner = {key: changes.pop(key) for key in ("steps", "seed") if key in changes}
        return replace(self, recipe=replace(self.recipe, **inner), **changes)

    def build(self, basis: Basis, denoiser: nn.Module | None) -> nn.Module:
        """An untrained agent."""
        if self.kind == "coefficients":
            return CoefficientAgent(basis)
        return Agent(len(basis), self.width, self.hidden, denoiser)


def train_agent(learn: Tensor, held_out: Tensor, basis: Basis, denoiser: nn.Module | None, plan: AgentPlan) -> Trained:
    """An agent trained by policy gradients on faces `learn` (n, 1, H, W), chosen by its reward on `held_out`.

    Every face is seen as it is and mirrored. Gives the weights without the frozen parts (basis, denoiser).
    """
    device = basis.vectors.device
    with seeded(plan.recipe.seed):
        model = plan.build(basis, denoiser).to(device)
    loss = Selection(
        torch.cat([learn, learn.flip(3)]),
        basis,
        plan.penalty,
        plan.norm,
        plan.baseline,
        plan.draws,
        PIN_INTENSITY,
        plan.pull,
    )
    found = noisy_choices(held_out, basis, PIN_INTENSITY, torch.Generator().manual_seed(0))

    error = partial(shortfall, found, plan.penalty, plan.norm)
    history = fit(model, loss, 2 * len(learn), plan.recipe, held_out=error, label="training the agent")
    own = {key: value for key, value in model.state_dict().items() if not key.startswith(FROZEN)}
    return {"weights": own, "history": history}


def shortfall(found: Choices, penalty: float, norm: str, agent: nn.Module) -> float:
    """Minus the mean reward of the agent's masks for the faces of `found`: what is lower is better."""
    return -mean_reward(agent, found, penalty, norm).mean().item()


FROZEN = ("denoiser.", "vectors", "mean")


def agent_from(trained: Trained, basis: Basis, denoiser: nn.Module | None, plan: AgentPlan) -> nn.Module:
    """The trained agent, frozen, in eval mode, beside its basis."""
    model = plan.build(basis, denoiser)
    model.load_state_dict(model.state_dict() | trained["weights"])
    return model.to(basis.vectors.device).eval().requires_grad_(False)
