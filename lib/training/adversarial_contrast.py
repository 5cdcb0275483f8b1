"""Contrastive adversarial pre-training: NT-Xent of pictures and of attacked ones, with one stream, two, or no attack.

Losses for `fit`. A model with two batch normalisations takes clean and adversarial pictures through its two routes; in
one without, both pass through the same layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.objectives import embedder, reference_embeddings
from lib.attacks.settings import PGD
from lib.errors import WorkbookError, choices
from lib.losses.contrastive import alignment, alone, nt_xent_rows, supervised_contrastive, uniformity
from lib.models.dual_norm import route
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.training.people import ImagesByPerson, images_by_person, with_partners

VARIANTS = ("single", "dual", "clean")


@torch.no_grad()
def health(both: Tensor) -> Metrics:
    """Alignment of the two views and uniformity of the first ones, of unit embeddings (2n, d)."""
    first, second = both.detach().float().chunk(2)
    return {"alignment": alignment(first, second), "uniformity": uniformity(first)}


def routed(model: nn.Module, x: Tensor, name: str) -> Tensor:
    """Unit embeddings (b, d), float32, of images x (b, C, H, W) through the route "clean" or "adversarial"."""
    with route(model, name):
        return embedder(model)(x).float()


@dataclass(frozen=True, eq=False)
class AdversarialContrast:
    """Contrastive loss of pictures and their adversarial versions, for a model whose `embed` ends in a projector.

    images (n, C, H, W), uint8 or in [0,1]; views(x, generator): random augmentation of a batch x (b, C, H, W);
    labels (n,), -1 for unlabelled (the source's semi-supervised stage; None: no labels). variant:

    "single" (the source's Algorithm 1): one view v; v and v + delta are each other's positive;
    "dual" (ACL's dual stream, Jiang et al. 2020): two views; the mean of the loss of both and of that of both attacked;
    "clean" (SimCLR): two views, no attack.

    The inner attack is instance-wise PGD: it increases NT-Xent itself, the same function that training lowers, all
    pictures of the batch at once, also where labels are known. In "single" the clean views stay fixed, through the
    clean route ("instance" of lib.attacks, with clean negatives alone, would be another function than the loss). It
    runs on stored batch statistics, as any attack; the training pass renews those of both routes.

    partners: half of a batch's pictures are other ones of the labelled people in the other half. Without it labels do
    little where people are many: 128 random pictures of 8 000 people hold about one couple of the same person.
    """

    images: Tensor
    views: Callable[[Tensor, torch.Generator], Tensor]
    labels: LongTensor | None = None
    variant: str = "single"
    eps: str = "8/255"
    step: str = "2/255"
    steps: int = 7
    temperature: float = 0.5  # the source gives none; ACL's
    partners: bool = False

    def __post_init__(self) -> None:
        """Refuse what does not exist or belong together."""
        if self.variant not in VARIANTS:
            raise WorkbookError(f"A variant is one of {choices(VARIANTS)}, not '{self.variant}': choose one.")
        if self.labels is not None and self.labels.shape != (len(self.images),):
            raise WorkbookError(
                f"{len(self.images)} images came with labels of shape {tuple(self.labels.shape)}: give one per image, "
                "-1 where unknown."
            )
        if self.partners and self.labels is None:
            raise WorkbookError("Partners are pictures of the same person: give labels, or take partners=False.")

    @cached_property
    def album(self) -> ImagesByPerson:
        """The pictures by person, each unlabelled one alone."""
        return images_by_person(alone(self.labels))

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """{"loss", "alignment", "uniformity"} on the images `index` (b,)."""
        index = with_partners(self.album, index, generator) if self.partners else index
        x = pixels_of(self.images, index, model)
        view = self.views(x, generator)
        if self.variant == "single":
            moved = self.attack(model, view, generator, other=view)
            both = torch.cat([routed(model, view, "clean"), routed(model, moved, "adversarial")])
            return {"loss": self.contrast(both, index), **health(both)}
        view = torch.cat([view, self.views(x, generator)])
        both = routed(model, view, "clean")
        loss = self.contrast(both, index)
        if self.variant == "dual":
            moved = routed(model, self.attack(model, view, generator), "adversarial")
            loss = (loss + self.contrast(moved, index)) / 2
        return {"loss": loss, **health(both)}

    def contrast(self, both: Tensor, index: LongTensor) -> Tensor:
        """The loss of embeddings (2b, d) of two views of the images `index` (b,)."""
        known = torch.full_like(index, -1) if self.labels is None else self.labels[index.to(self.labels.device)]
        return supervised_contrastive(both, known.to(both.device), self.temperature)

    def attack(self, model: nn.Module, view: Tensor, generator: torch.Generator, other: Tensor | None = None) -> Tensor:
        """`view`, walked uphill on NT-Xent: against the fixed clean views `other`, or half against half."""
        if other is not None:
            with route(model, "clean"):
                other = reference_embeddings(model, other)
        settings = PGD.but(steps=self.steps, step=self.step)
        with route(model, "adversarial"):
            goal = nt_xent(model, other, self.temperature)
            return ascend(goal, view, Linf(self.eps), settings, generator=generator)


@dataclass(frozen=True, eq=False)
class InstanceContrast(AdversarialContrast):
    """RoCL (Kim et al. 2020): the first of two views is attacked against the second, and all three are pulled together.

    The loss is NT-Xent of the three views, each row with two positives, plus `weight` times NT-Xent of the attacked
    view and the second one. Differs from the source: gradients flow through both sides of the similarity.
    """

    step: str | float = 0.007
    weight: float = 1 / 256

    def __post_init__(self) -> None:
        """Refuse labels: RoCL knows none."""
        super().__post_init__()
        if self.labels is not None:
            raise WorkbookError("RoCL learns without labels: leave them out, or take AdversarialContrast.")

    def __call__(self, model: nn.Module, index: LongTensor, generator: torch.Generator) -> Metrics:
        """{"loss", "alignment", "uniformity"} on the images `index` (b,)."""
        x = pixels_of(self.images, index, model)
        first, second = self.views(x, generator), self.views(x, generator)
        moved = self.attack(model, first, generator, other=second)
        embedded = embedder(model)(torch.cat([first, second, moved])).float()
        one, two, attacked = embedded.chunk(3)
        near = nt_xent_rows(torch.cat([attacked, two]), self.temperature).mean()
        loss = several_views(embedded, 3, self.temperature) + self.weight * near
        return {"loss": loss, **health(torch.cat([one, two]))}


def several_views(rows: Tensor, views: int, temperature: float) -> Tensor:
    """NT-Xent of unit embeddings (views * n, d), rows i, i + n, ... one picture: the mean over all positives of a row.

    For two views it is NT-Xent itself.
    """
    if views < 2 or len(rows) % views:
        raise WorkbookError(
            f"{len(rows)} rows are not {views} views of the same pictures: stack whole views, 2 or more."
        )
    picture = torch.arange(len(rows) // views, device=rows.device).repeat(views)
    same = (picture[:, None] == picture).fill_diagonal_(False)
    with torch.autocast(rows.device.type, enabled=False):
        similarity = rows.float() @ rows.float().T / temperature
    chance = similarity.fill_diagonal_(-torch.inf).log_softmax(1)
    return -chance.masked_fill(~same, 0).sum(1).mean() / (views - 1)
