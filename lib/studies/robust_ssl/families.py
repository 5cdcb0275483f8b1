"""The eight joint-embedding families as losses of one trainer, each with the parts that keep it from collapsing.

    loss = family("DINO", without="centring")(images, model, plan)

Two views of a picture go through the same network; the families differ in what their loss compares, and in nothing
else. A family's `parts` are what prevents the constant answer; `without` takes one of them away.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor

from lib.errors import WorkbookError, choices
from lib.losses.contrastive import nt_xent_rows
from lib.losses.joint_embedding import (
    barlow_twins,
    next_centre,
    predictive,
    queued_contrast,
    self_distillation,
    swapped_prediction,
    vicreg,
)
from lib.studies.robust_ssl.networks import JointEmbedding, Sizes
from lib.studies.robust_ssl.views import AnyViews, small_crops
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.training.state import EMA, Queue, StatefulLoss, rising_momentum


@dataclass(frozen=True)
class Settings:
    """What families share: temperatures as the papers have them, sizes of queue and small crops, teacher's momentum.

    small: views of a quarter of the pixels beside the two whole ones, for SwAV and DINO. momentum: of the slow copy at
    the start; MoCo's stays there. codes: of SwAV's Sinkhorn; at its paper's 0.05 a small network may stay at the
    uniform answer, a loss of ln K, for which the release advises a lower value.
    """

    queue: int = 4096
    small: int = 2
    momentum: float = 0.99
    simclr: float = 0.5
    moco: float = 0.2
    swav: float = 0.1
    codes: float = 0.015
    sharp: float = 0.04
    soft: float = 0.1
    barlow: float = 5e-3


class Family(StatefulLoss):
    """A family's loss of images (n, 3, S, S), uint8. Its network has a predictor or prototypes where it says so.

    The first of its `parts` is the one that stands for the family wherever only one is taken away.
    """

    name = ""
    parts: tuple[str, ...] = ()
    prototypes = False

    def __init__(
        self,
        images: Tensor,
        model: JointEmbedding,
        views: AnyViews,
        settings: Settings = Settings(),
        without: str | None = None,
    ):
        super().__init__()
        if without is not None and without not in self.parts:
            raise WorkbookError(f"{self.name} has {choices(self.parts)} to remove, not '{without}': choose one.")
        self.images = images
        self.views = views
        self.given = settings
        self.without = without
        self.prepare(model)

    def prepare(self, model: JointEmbedding) -> None:
        """Make the state that the family remembers."""

    @property
    def view_count(self) -> int:
        """Views of each picture in a step."""
        return 2

    def lacks(self, part: str) -> bool:
        """Whether that part was taken away."""
        return self.without == part

    def forward(self, model: JointEmbedding, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,), with what `update` needs."""
        x = pixels_of(self.images, index, model)
        return self.compare(model, self.views(x, generator), self.views(x, generator))

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """The loss of two views (b, 3, S, S) of the same pictures."""
        raise NotImplementedError

    @classmethod
    def predictor_width(cls, sizes: Sizes) -> int:
        """Hidden features of its predictor; 0: it has none."""
        return 0


def both(model: JointEmbedding, first: Tensor, second: Tensor) -> Tensor:
    """Raw projections (2b, dim) of two views in one pass."""
    return model(torch.cat([first, second]))


class SimCLR(Family):
    """NT-Xent: the other views of the batch are negatives."""

    name = "SimCLR"
    parts = ("negatives",)

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Without negatives only the cosine of the positives is left."""
        unit = F.normalize(both(model, first, second).float(), dim=1)
        if self.lacks("negatives"):
            one, other = unit.chunk(2)
            return {"loss": -(one * other).sum(1).mean() / self.given.simclr}
        return {"loss": nt_xent_rows(unit, self.given.simclr).mean()}


class MoCo(Family):
    """InfoNCE against a queue of keys, which a slow copy of the network makes."""

    name = "MoCo"
    parts = ("negatives", "momentum encoder")

    def prepare(self, model: JointEmbedding) -> None:
        """The slow copy and the queue."""
        self.slow = EMA(model)
        self.queue = Queue(self.given.queue, model.dim)

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Both views are queries once. Without the momentum encoder the network makes the keys itself."""
        queries = F.normalize(both(model, first, second).float(), dim=1)
        if self.lacks("momentum encoder"):
            keys = queries.detach()
        else:
            with torch.no_grad():
                keys = F.normalize(both(self.slow, first, second).float(), dim=1)
        one, other = queries.chunk(2)
        key_one, key_other = keys.chunk(2)
        if self.lacks("negatives"):
            loss = -((one * key_other).sum(1) + (other * key_one).sum(1)).mean() / 2 / self.given.moco
        else:
            sides = ((one, key_other), (other, key_one))
            loss = sum(queued_contrast(q, k, self.queue.rows, self.given.moco) for q, k in sides) / 2
        return {"loss": loss, "keys": key_one}

    def update(self, model: JointEmbedding, rows: dict[str, Tensor]) -> None:
        """The newest keys take the place of the oldest; the slow copy follows."""
        self.queue.push(rows["keys"][: len(self.queue.rows)])
        self.slow.follow(model, 0.0 if self.lacks("momentum encoder") else self.given.momentum)


class SimSiam(Family):
    """The prediction of one view against the other view, which does not learn from it."""

    name = "SimSiam"
    parts = ("stop-gradient", "predictor")

    @classmethod
    def predictor_width(cls, sizes: Sizes) -> int:
        """A bottleneck of a quarter of the projection, as in its paper."""
        return max(1, sizes.dim // 4)

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Minus the mean cosine over both directions."""
        one, other = both(model, first, second).chunk(2)
        guess_one, guess_other = (one, other) if self.lacks("predictor") else self.guesses(model, one, other)
        detach = not self.lacks("stop-gradient")
        return {"loss": (predictive(guess_one, other, detach) + predictive(guess_other, one, detach)) / 2}

    @staticmethod
    def guesses(model: JointEmbedding, one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions of both views in one pass."""
        guess_one, guess_other = model.predictor(torch.cat([one, other])).chunk(2)
        return guess_one, guess_other


class BYOL(SimSiam):
    """The prediction of one view against a slow copy's projection of the other: 2 - 2 cos."""

    name = "BYOL"
    parts = ("predictor", "EMA")

    @classmethod
    def predictor_width(cls, sizes: Sizes) -> int:
        """As wide as the projector."""
        return sizes.hidden

    def prepare(self, model: JointEmbedding) -> None:
        """The slow copy."""
        self.slow = EMA(model)

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Without EMA the target is the network itself, as it stands, behind a stop-gradient.

        That is SimSiam, but for the width of the predictor.
        """
        one, other = both(model, first, second).chunk(2)
        with torch.no_grad():
            target_one, target_other = both(self.slow, first, second).chunk(2)
        guess_one, guess_other = (one, other) if self.lacks("predictor") else self.guesses(model, one, other)
        return {"loss": 2 + predictive(guess_one, target_other) + predictive(guess_other, target_one)}

    def update(self, model: JointEmbedding, rows: dict[str, Tensor]) -> None:
        """The slow copy follows."""
        momentum = 0.0 if self.lacks("EMA") else rising_momentum(self.given.momentum, self.done)
        self.slow.follow(model, momentum)


class MultiCrop(Family):
    """A family with prototypes that also takes small crops."""

    prototypes = True

    @property
    def view_count(self) -> int:
        """Views of each picture in a step, small ones among them."""
        return 2 + self.given.small

    def forward(self, model: JointEmbedding, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} of two whole views and some small ones, grouped by size: two passes."""
        x = pixels_of(self.images, index, model)
        whole = [self.views(x, generator) for _ in range(2)]
        crops = small_crops(self.views, x.shape[-1])
        return self.of_crops(model, whole, [crops(x, generator) for _ in range(self.given.small)])

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """The loss without small crops."""
        return self.of_crops(model, [first, second], [])

    def of_crops(self, model: JointEmbedding, whole: list[Tensor], small: list[Tensor]) -> Metrics:
        """The loss of whole views (b, 3, S, S) and small ones (b, 3, s, s)."""
        raise NotImplementedError

    @classmethod
    def assigned(cls, model: JointEmbedding, x: Tensor, settings: Settings = Settings()) -> Tensor:
        """Probabilities (n, K) of the prototypes for images (n, 3, H, W), as the loss compares them."""
        raise NotImplementedError

    @staticmethod
    def cosines(model: JointEmbedding, whole: list[Tensor], small: list[Tensor]) -> list[Tensor]:
        """Cosines (b, K) of each view with the prototypes, whole ones first; one pass for each size."""
        passes = [views for views in (whole, small) if views]
        return [part for views in passes for part in model.cosines(torch.cat(views)).chunk(len(views))]


class SwAV(MultiCrop):
    """Each view predicts the other views' codes, which Sinkhorn's iterations spread evenly over the prototypes."""

    name = "SwAV"
    parts = ("Sinkhorn",)

    def of_crops(self, model: JointEmbedding, whole: list[Tensor], small: list[Tensor]) -> Metrics:
        """Without Sinkhorn the codes are softmaxes, which nothing keeps apart."""
        scores = self.cosines(model, whole, small)
        iterations = 0 if self.lacks("Sinkhorn") else 3
        return {"loss": swapped_prediction(scores, self.given.swav, self.given.codes, iterations, whole=2)}

    @classmethod
    @torch.no_grad()
    def assigned(cls, model: JointEmbedding, x: Tensor, settings: Settings = Settings()) -> Tensor:
        """At the temperature of the predictions."""
        return (model.cosines(x) / settings.swav).softmax(1)


class DINO(MultiCrop):
    """The student's softmax against that of a slow teacher, which is centred and sharpened."""

    name = "DINO"
    parts = ("centring", "sharpening", "EMA")

    def prepare(self, model: JointEmbedding) -> None:
        """The teacher, and its centre."""
        self.slow = EMA(model)
        self.register_buffer("centre", torch.zeros(len(model.prototypes)))

    def of_crops(self, model: JointEmbedding, whole: list[Tensor], small: list[Tensor]) -> Metrics:
        """The teacher sees whole views alone. Without sharpening it is as soft as the student."""
        student = self.cosines(model, whole, small)
        with torch.no_grad():
            teacher = self.slow.model.cosines(torch.cat(whole)).chunk(2)
        sharp = self.given.soft if self.lacks("sharpening") else self.given.sharp
        loss = self_distillation(student, list(teacher), self.centre, sharp, self.given.soft)
        return {"loss": loss, "logits": torch.cat(teacher)}

    def update(self, model: JointEmbedding, rows: dict[str, Tensor]) -> None:
        """The centre moves, and the teacher follows."""
        if not self.lacks("centring"):
            self.centre.copy_(next_centre(self.centre, [rows["logits"]]))
        momentum = 0.0 if self.lacks("EMA") else rising_momentum(self.given.momentum, self.done)
        self.slow.follow(model, momentum)

    @classmethod
    @torch.no_grad()
    def assigned(cls, model: JointEmbedding, x: Tensor, settings: Settings = Settings()) -> Tensor:
        """As the student gives them."""
        return (model.cosines(x) / settings.soft).softmax(1)


class BarlowTwins(Family):
    """The correlation of two views driven to the identity."""

    name = "Barlow Twins"
    parts = ("decorrelation",)

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Without decorrelation only the diagonal is left."""
        weight = 0.0 if self.lacks("decorrelation") else self.given.barlow
        return {"loss": barlow_twins(*both(model, first, second).chunk(2), weight)}


class VICReg(Family):
    """Invariance, a variance of at least 1 and no covariance."""

    name = "VICReg"
    parts = ("variance", "covariance")

    def compare(self, model: JointEmbedding, first: Tensor, second: Tensor) -> Metrics:
        """Each part has its weight, 25, 25 and 1; a removed one has 0."""
        weights = (25.0, 0.0 if self.lacks("variance") else 25.0, 0.0 if self.lacks("covariance") else 1.0)
        return {"loss": vicreg(*both(model, first, second).chunk(2), weights)}


FAMILIES = {kind.name: kind for kind in (SimCLR, MoCo, SwAV, SimSiam, BYOL, DINO, BarlowTwins, VICReg)}
METHODS = tuple(FAMILIES)
REMOVALS = tuple((name, part) for name, kind in FAMILIES.items() for part in kind.parts)


def family(name: str) -> type[Family]:
    """The family of that name; an unknown one is an error."""
    if name not in FAMILIES:
        raise WorkbookError(f"The families are {choices(METHODS)}, not '{name}': choose one.")
    return FAMILIES[name]
