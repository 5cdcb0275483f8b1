"""Triplets of people, and triplet adversarial fine-tuning (ACL-triplet, Algorithm 2): a loss for `fit`."""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import DISTANCES, triplet
from lib.attacks.loop import ascend
from lib.attacks.objectives import reference_embeddings
from lib.attacks.settings import PGD
from lib.errors import WorkbookError, choices
from lib.models.dual_norm import route
from lib.training.adversarial_contrast import routed
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.training.people import ImagesByPerson, images_by_person, random_below


def people_of(album: ImagesByPerson) -> LongTensor:
    """People (k,) of two or more pictures: who can be an anchor. The others serve as negatives alone."""
    if len(album.count) < 2 or len(album.several) == 0:
        raise WorkbookError(
            f"Triplets need two people and one of them with two pictures, but {len(album.order)} pictures of "
            f"{len(album.count)} people came: add pictures."
        )
    return album.several


def drawn(
    album: ImagesByPerson, people: LongTensor, generator: torch.Generator
) -> tuple[LongTensor, LongTensor, LongTensor]:
    """For each of `people` (t,) two different pictures and one of anybody else: positions (t,), uniformly drawn."""
    start = album.start[people]
    count = album.count[people]
    first = random_below(count, generator)
    second = (first + 1 + random_below(count - 1, generator)) % count
    other = random_below(len(album.order) - count, generator)
    other += count * (other >= start)  # steps over the person's own pictures
    return album.order[start + first], album.order[start + second], album.order[other]


def draw_triplets(
    labels: LongTensor, count: int | None = None, generator: torch.Generator | None = None
) -> tuple[LongTensor, LongTensor, LongTensor]:
    """Positions (t,) of anchors, positives (same person, another picture) and negatives (another person).

    labels (n,). One triplet for each person of two or more pictures, in the order of their labels; with `count` as
    many triplets, of random people.
    """
    album = images_by_person(labels)
    generator = generator or torch.Generator().manual_seed(0)
    people = people_of(album)
    if count is not None:
        people = people[torch.randint(len(people), (count,), generator=generator)]
    return drawn(album, people, generator)


def hardest(anchor: Tensor, positive: Tensor) -> LongTensor:
    """For each anchor (b, d) the row (b,) of the nearest positive (b, d) of the other rows: unit, different people."""
    if len(anchor) < 2:
        raise WorkbookError("The hardest negatives are other people of the batch, but one came: make it larger.")
    return (anchor.detach() @ positive.detach().T).fill_diagonal_(-torch.inf).argmax(1)


@dataclass(frozen=True, eq=False)
class TripletFineTuning:
    """Triplet loss on clean and attacked anchors (ACL-triplet, Algorithm 2); adversarial=False: on clean ones alone.

    images (n, C, H, W), uint8 or in [0,1]; labels (n,). The examples of `fit` are the `len(self)` people of two or
    more pictures, so that an epoch is one triplet per person; the pictures are drawn anew at each step. The attack
    moves the anchor x; positive and negative are embedded once for it. The loss is the mean over the 2b triplets of
    x and of x + delta with the same positives and negatives; x + delta takes the adversarial route, all else the clean.

    The attack maximises D(x + delta, p) - D(x + delta, n). hinged: the literal loss, whose gradient is zero where the
    margin is kept, so that such anchors stay at their random start. hardest: n is the nearest of the other people's
    positives in the batch. distance: a name of DISTANCES, of unit embeddings. flip: mirror each picture with
    probability 1/2. Ours, as the source says nothing of them: margin, distance, augmentation.
    """

    images: Tensor
    labels: LongTensor
    margin: float = 0.2  # FaceNet's
    distance: str = "l2"
    adversarial: bool = True
    hinged: bool = False
    hardest: bool = False
    flip: bool = True
    eps: str = "8/255"
    step: str = "2/255"
    steps: int = 7

    def __post_init__(self) -> None:
        """Refuse what does not exist or belong together."""
        if self.distance not in DISTANCES:
            raise WorkbookError(f"A distance is one of {choices(list(DISTANCES))}, not '{self.distance}': choose one.")
        if self.labels.shape != (len(self.images),):
            raise WorkbookError(
                f"{len(self.images)} images came with labels of shape {tuple(self.labels.shape)}: give one per image."
            )

    @cached_property
    def album(self) -> ImagesByPerson:
        """The pictures by person."""
        return images_by_person(self.labels)

    @cached_property
    def people(self) -> LongTensor:
        """Who can be an anchor."""
        return people_of(self.album)

    def __len__(self) -> int:
        """Number of people to train on: `fit(model, loss, len(loss), recipe)`."""
        return len(self.people)

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """{"loss", "violated"} of the people `index` (b,): violated is the share of triplets that break the margin."""
        x = self.pictures(model, index, generator)
        anchor, positive, *rest = routed(model, x, "clean").split(len(index))
        nearest = None if rest else hardest(anchor, positive)
        negative = rest[0] if rest else positive[nearest]
        if self.adversarial:
            moved = self.attack(model, x, len(index), nearest, generator)
            anchor = torch.cat([anchor, routed(model, moved, "adversarial")])
            positive = positive.repeat(2, 1)
            negative = negative.repeat(2, 1)
        apart = DISTANCES[self.distance]
        hinge = F.relu(apart(anchor, positive) - apart(anchor, negative) + self.margin)
        return {"loss": hinge.mean(), "violated": (hinge.detach() > 0).float().mean()}

    def pictures(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Tensor:
        """Anchors, positives and, unless they are mined, negatives: (3b or 2b, C, H, W) on the model's device."""
        rows = drawn(self.album, self.people[index], generator)
        x = pixels_of(self.images, torch.cat(rows[:2] if self.hardest else rows), model)
        if not self.flip:
            return x
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        return torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)

    def attack(
        self, model: nn.Module, x: Tensor, people: int, nearest: LongTensor | None, generator: torch.Generator
    ) -> Tensor:
        """The anchors x[:people], walked uphill on the triplet objective; the rest of x is embedded once."""
        with route(model, "clean"):
            positive, *rest = reference_embeddings(model, x[people:]).float().split(people)
        negative = rest[0] if rest else positive[nearest]
        margin = self.margin if self.hinged else None
        settings = PGD.but(steps=self.steps, step=self.step)
        with route(model, "adversarial"):
            goal = triplet(model, positive, negative, margin, self.distance)
            return ascend(goal, x[:people], Linf(self.eps), settings, generator=generator)
