"""Doors to attacks written by others, which know only classifiers, one epsilon, and rows without a name."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.attacks.budgets import Size, per_image
from lib.attacks.guard import check_images, device_of
from lib.attacks.objectives import embedder, reference_embeddings
from lib.errors import WorkbookError


class KnownRows(nn.Module):
    """A model that knows which of its clean images each incoming image came from.

    A full batch comes in its own order (attacks may resize or rescale it beyond recognition). Attacks that drop
    finished images call with fewer rows; a perturbation is far smaller than the distance between two pictures, so the
    nearest stored one tells the row. With a per-image `eps` the attacker works on `squeezed` images, whose common
    budget is `self.eps`; `unsqueeze` gives them back in [0,1].
    """

    def __init__(self, model: nn.Module, clean: Tensor, eps: Size | None = None) -> None:
        super().__init__()
        check_images(clean)
        self.model = model
        self.training = model.training  # torchattacks gives an attacked module back in its outermost mode
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)  # attackers ask for a parameter's device
        device = device_of(model) or clean.device
        clean = clean.detach().to(device)
        sizes = per_image(1.0 if eps is None else eps, clean).expand(len(clean), 1, 1, 1)
        least = sizes.min().item()
        if least <= 0:
            raise WorkbookError("Every image needs an epsilon above 0 here: leave images without a budget out.")
        self.eps = None if eps is None else least
        self.ratio = sizes / least
        self.squeezed = clean / self.ratio
        self.keys = self.squeezed.flatten(1)
        if len(self.keys.unique(dim=0)) < len(clean):
            raise WorkbookError("The same clean image came twice, so its rows cannot be told apart: attack them apart.")
        self.to(device)

    def rows(self, x: Tensor) -> Tensor:
        """Which stored image each of `x` (b, C, H, W) is: (b,)."""
        if len(x) == len(self.keys):
            return torch.arange(len(x), device=x.device)
        with torch.no_grad():
            return torch.cdist(x.detach().flatten(1), self.keys).argmin(1)

    def unsqueeze(self, x: Tensor, rows: Tensor) -> Tensor:
        """Squeezed images back in [0,1]; the clamp lets gradients pass, as pixels at the walls may still turn back."""
        if self.eps is None:
            return x
        x = x * self.ratio[rows]
        return x + (x.clamp(0, 1) - x).detach()

    def forward(self, x: Tensor) -> Tensor:
        """Logits of squeezed images (b, C, H, W)."""
        rows = self.rows(x)
        return self.logits(self.unsqueeze(x, rows), rows)

    def logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """What the attacked classifier answers to images `x` in [0,1], which are the stored images `rows`."""
        return self.model(x)


@dataclass(frozen=True)
class PairHead:
    """How a cosine becomes logits: the decision's `threshold` (or one per pair), the `scale`, the number of classes."""

    threshold: float | Tensor = 0.3
    scale: float = 10.0
    classes: int = 4


class PairLogits(KnownRows):
    """A verification pair as a classifier that torchattacks and AutoAttack can attack; class 1 says "same person".

    Logits (b, classes) are `scale * [t - cos, cos - t]`, then constants 50 below the smaller one, as losses such as
    DLR need four classes. Ascending the cross-entropy of label `same` lowers the cosine of a genuine pair and raises
    an impostor pair's, for every `threshold` and `scale`; far above 10 the scale saturates float32 gradients.

        torchattacks.PGD(PairLogits(model, probes, reference))(probes, same.long())

    Args: probes (n, C, H, W) in [0,1], no two alike; reference images (n, C, H, W) or embeddings (n, d); eps per image
    (n,) when the budgets differ (attack `squeezed` with `self.eps`, then `unsqueeze`); head: fields of `PairHead`.
    """

    def __init__(
        self, model: nn.Module, probes: Tensor, reference: Tensor, *, eps: Size | None = None, **head: object
    ) -> None:
        super().__init__(model, probes, eps)
        head = PairHead(**head)
        self.references = reference_embeddings(model, reference)
        if len(self.references) != len(probes):
            raise WorkbookError(f"{len(probes)} probes came with {len(self.references)} references: pair them up.")
        level = torch.as_tensor(head.threshold, dtype=self.references.dtype, device=self.references.device)
        self.threshold = level.expand(len(probes))
        self.scale = head.scale
        self.pads = head.classes - 2

    def logits(self, x: Tensor, rows: Tensor) -> Tensor:
        """Logits (b, classes) of probes in [0,1]."""
        cosine = (embedder(self.model)(x) * self.references[rows]).sum(1)
        margin = self.scale * (cosine - self.threshold[rows])
        logits = torch.stack([-margin, margin], dim=1)
        floor = logits.detach().amin(1, keepdim=True) - 50
        return torch.cat([logits, floor.expand(-1, self.pads)], dim=1)
