"""What DAR-SFRL trains: the restorer with its projections, by the paper's recipe or by the released code's.

    loss = Unrolled(images, RELEASED.but(noise_views="degradation"))

Each place where the code differs from the paper is a field of `Objective`, so that its effect can be measured alone.
"""

from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError, choices
from lib.losses.contrastive import alone
from lib.seeds import seeded
from lib.studies.dar_sfrl.degradations import LEVELS, STRONG, Degradations
from lib.studies.dar_sfrl.losses import (
    LossWeights,
    consistency,
    difference,
    mean_square_cosine,
    mirrored_nt_xent,
    mixed_nt_xent,
    mixing,
    noise_contrast,
    nt_xent,
)
from lib.studies.dar_sfrl.networks import Restored, Restorer
from lib.studies.dar_sfrl.views import CROPS, WHOLE
from lib.training.batches import pixels_of
from lib.training.loop import Measure, Metrics, Recipe, Trained, fit
from lib.training.people import ImagesByPerson, images_by_person, random_below

LOSSES = ("mae", "orthogonal", "face", "noise")
ALLOWED = {
    "target": ("frame", "person"),
    "orthogonality": ("shared", "frozen"),
    "heads": ("one", "two"),
    "noise_views": ("degradation", "pose"),
    "error": ("mean", "norm"),
}
STEPS = ("restoration", "face", "noise")  # of one iteration of the released code
POSE_BATCH = 10  # pictures of the released pose branch


@dataclass(frozen=True)
class Objective:
    """What DAR-SFRL minimises; the defaults are the paper's but for `error`.

    losses: those that are summed (Table 6 removes them). target: the restored face should be its own clean "frame", or
    as in the code a random frame of the same "person". mirror: also restore the mirror image, and pull both restored
    faces together by their squared difference. orthogonality: on the "shared" heads by the squared cosine (eq. 14), or
    DiffLoss on "frozen" random projections. heads: "one" projection of faces and residuals, or "two". noise_views: the
    noise contrast by "degradation", or PCL's "pose" branch. mixed: interpolated negatives. alternating: one optimiser
    step for each of restoration, face and noise, in place of their sum. degradations: names of `KINDS`. weighted:
    dynamic weights of the two contrasts. pose_negatives: views of the mirror image for each picture (the code: 100).
    error: L_mae as the "mean" absolute error of the code, or the undivided "norm" of eq. 12.
    """

    losses: tuple[str, ...] = LOSSES
    target: str = "frame"
    mirror: bool = False
    orthogonality: str = "shared"
    heads: str = "one"
    noise_views: str = "degradation"
    mixed: bool = True
    alternating: bool = False
    degradations: tuple[str, ...] = LEVELS
    weighted: bool = True
    pose_negatives: int = 100
    error: str = "mean"

    def __post_init__(self) -> None:
        """Refuse what does not exist."""
        for name, allowed in ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise WorkbookError(f"{name} is one of {choices(allowed)}, not '{getattr(self, name)}': choose one.")
        if not self.losses or set(self.losses) - set(LOSSES):
            raise WorkbookError(f"The losses are among {choices(LOSSES)}, not {self.losses}: choose of them.")
        if self.pose_negatives < 2:
            raise WorkbookError(f"The pose branch mixes at least two negatives, not {self.pose_negatives}: raise it.")

    def but(self, **changes: object) -> "Objective":
        """This objective with some fields changed."""
        unknown = set(changes) - {field.name for field in fields(self)}
        if unknown:
            known = choices([field.name for field in fields(self)])
            raise WorkbookError(f"An objective has no field {choices(sorted(unknown))}: choose among {known}.")
        return replace(self, **changes)

    @property
    def steps(self) -> tuple[str, ...]:
        """The kinds of step that its losses need."""
        needed = {"mae": "restoration", "orthogonal": "restoration", "face": "face", "noise": "noise"}
        return tuple(step for step in STEPS if step in {needed[name] for name in self.losses})


PAPER = Objective(error="norm")
SUMMED = Objective()  # the paper's sum with the code's mean error, which stands far below the contrasts (page 09)
# The paper's losses, but a step for each part, as in the released code.
STEPWISE = Objective(alternating=True)
RELEASED = Objective(
    target="person",
    mirror=True,
    orthogonality="frozen",
    heads="two",
    noise_views="pose",
    alternating=True,
    degradations=STRONG,
)
# Where the released code differs from `STEPWISE`; page 09 measures each on its own.
DIFFERENCES: dict[str, dict[str, object]] = {
    "random frame of the person as target": {"target": "person"},
    "mirror image and its MSE": {"mirror": True},
    "frozen random projections": {"orthogonality": "frozen"},
    "two heads": {"heads": "two"},
    "pose branch for the noise": {"noise_views": "pose"},
    "noise of 0.4 alone": {"degradations": STRONG},
}


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two linear layers with ReLU between and batch normalisation behind; the source's: 12288 to 2048 to 512."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs), nn.BatchNorm1d(outputs))


class DAR(nn.Module):
    """A restorer with the projections that only training needs: `restorer` is what stays.

    side: of the images; hidden, dim: of the projections; objective: says which of them there are. epoch: steps between
    two looks at the dynamic weights.
    """

    def __init__(
        self, restorer: Restorer, side: int, hidden: int, dim: int, objective: Objective = PAPER, epoch: int = 100
    ):
        super().__init__()
        inputs = 3 * side**2
        self.restorer = restorer
        self.face_head = head(inputs, hidden, dim)
        self.noise_head = self.face_head if objective.heads == "one" else head(inputs, hidden, dim)
        if objective.orthogonality == "frozen":
            self.frozen = nn.ModuleList(head(inputs, hidden, dim).requires_grad_(False) for _ in range(2))
        self.weights = LossWeights(2, epoch)
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        """Restored faces (n, 3, H, W)."""
        return self.restorer(x)


@dataclass(frozen=True, eq=False)
class Unrolled:
    """A loss for `fit` of a `DAR`: images (n, 3, H, W), uint8 or in [0,1]; people (n,), -1 where unknown.

    Differs from the released code in the loaders: one batch serves all three parts, in which the pose branch takes
    the first ten pictures.
    """

    images: Tensor
    objective: Objective = PAPER
    people: LongTensor | None = None

    def __post_init__(self) -> None:
        """Refuse parts that do not match."""
        if self.people is not None and self.people.shape != (len(self.images),):
            raise WorkbookError(
                f"{len(self.images)} images came with people of shape {tuple(self.people.shape)}: give one per image, "
                "-1 where unknown."
            )
        if self.objective.target == "person" and self.people is None:
            raise WorkbookError("Targets of the same person need to know the people: give them, -1 where unknown.")

    @cached_property
    def album(self) -> ImagesByPerson:
        """The pictures by person, each unknown one alone."""
        return images_by_person(alone(self.people))

    @cached_property
    def degrade(self) -> Degradations:
        """What the images suffer."""
        return Degradations(self.objective.degradations)

    def __call__(self, model: DAR, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on the images `index` (b,), with each part that was summed."""
        steps = self.objective.steps
        if self.objective.alternating:
            steps = (steps[int(model.turn) % len(steps)],)
            model.turn += 1
        x = pixels_of(self.images, index, model)
        found = {}
        if "restoration" in steps:
            found |= self.restoration(model, x, self.targets(model, index, generator), generator)
        if set(steps) & {"face", "noise"}:
            found |= self.contrasts(model, x, steps, generator)
        weights = dict(zip(("face", "noise"), model.weights.weights, strict=True)) if self.objective.weighted else {}
        loss = sum(weights.get(name, 1.0) * value for name, value in found.items())
        self.remember(model, found)
        return {"loss": loss} | {name: value.detach() for name, value in found.items()}

    def targets(self, model: DAR, index: LongTensor, generator: Generator) -> Tensor:
        """Clean images (b, 3, H, W) that the restored ones should equal."""
        if self.objective.target == "person":
            person = self.album.person[index]
            index = self.album.order[self.album.start[person] + random_below(self.album.count[person], generator)]
        return pixels_of(self.images, index, model)

    def restoration(self, model: DAR, x: Tensor, clean: Tensor, generator: Generator) -> Metrics:
        """L_mae and L_orth of the whole frames, and of their mirror images where the objective says so."""
        sides = ((x, clean), (x.flip(3), clean.flip(3))) if self.objective.mirror else ((x, clean),)
        restored = [model.restorer.unroll(self.degraded(image, generator)[0]) for image, _ in sides]
        found: dict[str, list[Tensor]] = {}
        for stages, (_, target) in zip(restored, sides, strict=True):
            if "mae" in self.objective.losses:
                found.setdefault("mae", []).append(consistency(stages.faces, target, self.objective.error))
            if "orthogonal" in self.objective.losses:
                found.setdefault("orthogonal", []).append(self.orthogonal(model, stages))
        if self.objective.mirror and "mae" in self.objective.losses:
            pairs = zip(*(stages.faces for stages in restored), strict=True)
            found["mirror"] = [F.mse_loss(one, other) for one, other in pairs]
        return {name: torch.stack(values).sum() for name, values in found.items()}

    def orthogonal(self, model: DAR, stages: Restored) -> Tensor:
        """L_orth, added up over the stages."""
        frozen = self.objective.orthogonality == "frozen"
        heads = model.frozen if frozen else (model.face_head, model.noise_head)
        measure = difference if frozen else mean_square_cosine
        pairs = zip(*stages, strict=True)
        return torch.stack([measure(heads[0](face.flatten(1)), heads[1](n.flatten(1))) for face, n in pairs]).sum()

    def degraded(self, x: Tensor, generator: Generator) -> tuple[Tensor, LongTensor]:
        """Degraded images and their kinds (n,)."""
        kind = self.degrade.draw(len(x), generator)
        return self.degrade(x, kind, generator), kind

    def contrasts(self, model: DAR, x: Tensor, steps: tuple[str, ...], generator: Generator) -> Metrics:
        """L_face and L_noise of two views, both degraded in the same way."""
        by_kind = self.objective.noise_views == "degradation"
        found = {}
        if "face" in steps or by_kind:
            views, kind = CROPS.pair(x, generator), self.degrade.draw(len(x), generator)
            stages = model.restorer.unroll(self.degrade(views, kind.repeat(2), generator))
            if "face" in steps:
                found["face"] = self.face(model, stages.faces, generator)
            if "noise" in steps and by_kind:
                pairs = [model.noise_head(part.flatten(1)) for part in stages.residuals]
                found["noise"] = torch.stack([noise_contrast(both, kind.to(x.device)) for both in pairs]).sum()
        if "noise" in steps and not by_kind:
            found["noise"] = self.pose(model, x[:POSE_BATCH], generator)
        return found

    def face(self, model: DAR, faces: list[Tensor], generator: Generator) -> Tensor:
        """L_face of the restored views, added up over the stages."""
        both = [model.face_head(part.flatten(1)) for part in faces]
        rows = len(both[0])
        if not self.objective.mixed or rows < 4:
            return torch.stack([nt_xent(part) for part in both]).sum()
        return torch.stack([mixed_nt_xent(part, mixing(rows, rows - 2, generator)) for part in both]).sum()

    def pose(self, model: DAR, x: Tensor, generator: Generator) -> Tensor:
        """PCL's pose branch on the residuals: two views of an image against many views of its mirror image."""
        count = self.objective.pose_negatives
        views = torch.cat([WHOLE.pair(x, generator), WHOLE(x.flip(3).repeat_interleave(count, 0), generator)])
        residuals = model.restorer.unroll(views).residuals
        found = []
        for part in residuals:
            own, others = model.noise_head(part.flatten(1)).split([2 * len(x), count * len(x)])
            mixes = mixing(len(x), count, generator)
            mixes = mixes if self.objective.mixed else mixes._replace(share=torch.ones_like(mixes.share))
            found.append(mirrored_nt_xent(own, others.view(len(x), count, -1), mixes))
        return torch.stack(found).sum()

    def remember(self, model: DAR, found: Metrics) -> None:
        """Hand the two contrasts to the dynamic weights, NaN for one that this step did not take."""
        nothing = model.weights.sums.new_tensor(torch.nan)
        model.weights.note(torch.stack([found.get(name, nothing).detach().float() for name in ("face", "noise")]))


@dataclass(frozen=True)
class Network:
    """The size of a `DAR`. The source: side 64, 3 stages, M a ResNet, projections of 2048 and 512."""

    side: int = 64
    stages: int = 3
    operator: str = "ResNet"
    channels: int = 16
    hidden: int = 2048
    dim: int = 512
    mixer: int = 256
    shared_prelu: bool = False

    def restorer(self, seed: int = 0) -> Restorer:
        """A new restorer of faces (n, 3, side, side)."""
        with seeded(seed):
            return Restorer(self.stages, self.operator, self.channels, self.shared_prelu, self.mixer)

    def learner(self, objective: Objective, epoch: int, seed: int = 0) -> DAR:
        """A new restorer with its projections."""
        restorer = self.restorer(seed)
        with seeded(seed + 1):
            return DAR(restorer, self.side, self.hidden, self.dim, objective, epoch)

    def loaded(self, trained: Trained) -> Restorer:
        """The trained restorer, frozen, in eval mode."""
        model = self.restorer()
        model.load_state_dict(trained["weights"])
        return model.eval().requires_grad_(False)


def train_dar(
    images: Tensor,
    network: Network,
    objective: Objective,
    recipe: Recipe,
    people: LongTensor | None = None,
    watch: Measure | None = None,
    device: str = "cpu",
) -> Trained:
    """A new restorer trained on faces (n, 3, side, side): its weights and the history. people: only for targets.

    An alternating objective takes as many optimiser steps for each of its parts as the recipe has steps.
    """
    known = people if objective.target == "person" else None
    loss = Unrolled(images, objective, known)
    turns = len(objective.steps) if objective.alternating else 1
    epoch = max(1, len(images) // min(recipe.batch, len(images)))
    model = network.learner(objective, epoch, recipe.seed).to(device, memory_format=torch.channels_last)
    plan = replace(recipe, steps=recipe.steps * turns, check_every=recipe.check_every * turns)
    history = fit(model, loss, len(images), plan, held_out=watch, label="training DAR-SFRL")
    return {"weights": model.restorer.state_dict(), "history": history}
