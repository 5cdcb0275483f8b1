"""PIN's defence as pages 03 to 06 share it: one table of sizes, one set of trained networks, everything kept."""

from dataclasses import replace
from types import SimpleNamespace

from torch import nn

from lib.book.run import Run, per_profile
from lib.data.examples import ImagePairs
from lib.data.pairs import make_pairs
from lib.data.sets import ImageSet, Pairs
from lib.studies.base import RECIPE_FIELDS, Study
from lib.studies.pages import other_people
from lib.studies.pin.learnable_pca import LearnablePCA
from lib.studies.pin.training import AgentPlan, Shares, agent_from, denoiser_from, material, train_agent, train_denoiser
from lib.training.loop import Trained

PENALTY = 0.008  # lambda for our basis and recogniser, chosen on held-out pairs on page 03; the source has 0.015


# Rows for `run.scale`: the same on every page of PIN, so that a network is trained once for all of them.
SIZES = {
    "pairs": per_profile(8, 400, 6000, 6000),
    "parts": per_profile(1, 1, 2, 2),
    "components": per_profile(80, 2500, 2500, 2500),
    "fit_images": per_profile(120, 4000, 4000, 5000),
    "learn_images": per_profile(120, -1, -1, -1),  # -1: all the rest
    "held_images": per_profile(20, 400, 400, 400),
    "held_pairs": per_profile(10, 60, 60, 60),
    "gallery": per_profile(4, 40, 80, 80),
    "denoiser_width": per_profile(2, 8, 64, 64),
    "denoiser_steps": per_profile(6, 1000, 6000, 1_000_000),
    "agent_width": per_profile(2, 8, 64, 64),
    "agent_steps": per_profile(6, 3000, 12_000, 5_000_000),
    "agent_batch": per_profile(8, 20, 256, 20),
    "coefficient_steps": per_profile(6, 600, 3000, 3000),
}


class PIN(Study):
    """PIN trained on people of `faces` who occur in none of the test `pairs`: material, autoencoder, agents on request.

    Each network is trained once and kept.
    """

    def __init__(self, run: Run, scale: SimpleNamespace, faces: ImageSet, pairs: Pairs):
        super().__init__(run, scale)
        self.faces = faces
        shares = Shares(scale.gallery, scale.fit_images, scale.held_images, scale.learn_images, scale.components)
        self.material = material(run, faces, other_people(faces, pairs, len(faces)), shares)
        self.denoiser_trained = self._denoiser_trained()
        self.denoiser = denoiser_from(self.denoiser_trained, scale.denoiser_width).to(run.device).requires_grad_(False)
        self.plan = self._plan()

    def _denoiser_trained(self) -> Trained:
        part = self.material
        recipe = self.recipe(self.scale.denoiser_steps, batch=16, rate=2e-3, clip=1.0)
        return self.trained(train_denoiser, part.learn, part.held_out, self.scale.denoiser_width, recipe, self.device)

    def _plan(self) -> AgentPlan:
        """The agent of this scale: Adam in place of the source's descent, slower for the convolutions, a small pull.

        Without normalisation layers the logits react strongly to every weight. With the source's optimiser and one
        rate for all parts, each probability is 0 or 1 long before the policy has learnt which (page 03 shows it).
        """
        scale = self.scale
        recipe = self.recipe(scale.agent_steps, scale.agent_batch, rate=1e-4, looks=30, shares={"selection": 0.1})
        return AgentPlan(recipe, scale.agent_width, penalty=PENALTY, baseline="leave-one-out", pull=3e-6)

    def planned(self, **changes: object) -> AgentPlan:
        """The page's plan with changes to it or its recipe; kind="coefficients" has settings of its own."""
        if changes.get("kind") == "coefficients":
            changes = {"pull": 0.0, "rate": 0.02, "shares": {}, "steps": self.scale.coefficient_steps} | changes
        recipe = {key: changes.pop(key) for key in list(changes) if key in RECIPE_FIELDS}
        plan = self.plan.but(**changes)
        return replace(plan, recipe=replace(plan.recipe, **recipe))

    def train(self, denoised: bool = True, **changes: object) -> Trained:
        """{"weights", "history"} of an agent; changes: to its plan, as `penalty=0.015` or `kind="coefficients"`."""
        part = self.material
        plan = self.planned(**changes)
        denoiser = self.denoiser if denoised and plan.kind == "image" else None
        return self.trained(train_agent, part.learn, part.held_out, part.basis, denoiser, plan)

    def agent(self, denoised: bool = True, **changes: object) -> nn.Module:
        """The trained agent, frozen."""
        trained = self.train(denoised, **changes)
        denoiser = self.denoiser if denoised else None
        return agent_from(trained, self.material.basis, denoiser, self.planned(**changes))

    def defence(self, surrogate: str = "concrete", denoised: bool = True, **changes: object) -> LearnablePCA:
        """PIN in front of a recogniser, its agent trained."""
        return LearnablePCA(self.material.basis, self.agent(denoised, **changes), surrogate).to(self.run.device)

    def held_pairs(self, most: int | None = None) -> ImagePairs:
        """Up to `most` (default: the scale's) gray pairs of each kind of held-out people, to choose on."""
        most = self.scale.held_pairs if most is None else most
        labels = self.faces.labels[self.material.held_index]
        counts = labels.unique(return_counts=True)[1]
        half = min(most, int((counts * (counts - 1) // 2).sum()))
        pairs = make_pairs(labels, half, half, seed=0)
        images = self.material.held_out.float() / 255
        return ImagePairs(images[pairs.first], images[pairs.second], pairs.same)
