"""Objectives on embeddings: verification pairs, triplets, contrastive losses, feature distance.

References (n, C, H, W) are embedded once, when the objective is made; embeddings (n, d) may be passed instead.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.attacks.objectives import Objective, embedder, reference_embeddings, run_once, signs
from lib.errors import WorkbookError, choices
from lib.losses.contrastive import nt_xent_rows

DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "l2": lambda a, b: ((a - b).square().sum(1) + 1e-12).sqrt(),  # 1e-12: a finite gradient at distance 0
    "squared": lambda a, b: (a - b).square().sum(1),
    "cosine": lambda a, b: 1 - F.cosine_similarity(a, b, dim=1),
}


def _distance(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    if name not in DISTANCES:
        raise WorkbookError(f"A distance is one of {choices(list(DISTANCES))}, not {name!r}: choose one of them.")
    return DISTANCES[name]


def verification(model: nn.Module, reference: Tensor, same: bool | Tensor) -> Objective:
    """Break verification pairs: lower the cosine where `same`, raise it elsewhere (PIN, section IV).

    `reference` is the pair's second, unattacked half; `same` a flag or BoolTensor (n,). For unit embeddings this moves
    as the L2 distance does.
    """
    anchors = reference_embeddings(model, reference)

    def score(embedding: Tensor, anchor: Tensor, sign: Tensor) -> Tensor:
        return sign * (embedding * anchor).sum(1)

    return Objective((model,), embedder(model), score, (anchors, signs(same, anchors)))


def dodging(model: nn.Module, reference: Tensor) -> Objective:
    """Lower the cosine to `reference`: be not recognised."""
    return verification(model, reference, True)


def impersonation(model: nn.Module, reference: Tensor) -> Objective:
    """Raise the cosine to `reference`: be recognised as somebody else."""
    return verification(model, reference, False)


def feature_distance(
    model: nn.Module, target: Tensor, distance: str = "l2", forward: Callable[[Tensor], Tensor] | None = None
) -> Objective:
    """Distance of `forward(x)` (default: `model(x)`, flattened) to target features (n, d).

    `target` may be images, which `forward` then maps once, or a teacher's features (DeACL, with "cosine").
    """
    inner = forward or model

    def features(x: Tensor) -> Tensor:
        return inner(x).flatten(1)

    fixed = run_once(features, model, target) if target.ndim == 4 else reference_embeddings(model, target)
    return Objective((model,), features, _distance(distance), (fixed,))


def triplet(
    model: nn.Module, positive: Tensor, negative: Tensor, margin: float | None = None, distance: str = "l2"
) -> Objective:
    """`D(anchor, positive) - D(anchor, negative)` of unit embeddings, the anchor attacked (ACL-triplet, Alg. 2).

    With `margin` the training loss's hinge `max(0, margin + ...)`: it has no gradient on triplets that already satisfy
    the margin, so the attack leaves those where they are.
    """
    apart = _distance(distance)

    def score(anchor: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        gap = apart(anchor, positive) - apart(anchor, negative)
        return gap if margin is None else F.relu(gap + margin)

    fixed = (reference_embeddings(model, positive), reference_embeddings(model, negative))
    return Objective((model,), embedder(model), score, fixed)


def instance(model: nn.Module, views: Tensor, temperature: float = 0.5) -> Objective:
    """InfoNCE of each image against the fixed second views of all n images, its own being the positive.

    Rows are independent (negatives come from the fixed bank alone), so the batch may be cut.
    """
    bank = reference_embeddings(model, views)

    def score(embedding: Tensor, own: Tensor) -> Tensor:
        return F.cross_entropy(embedding @ bank.T / temperature, own, reduction="none")

    return Objective((model,), embedder(model), score, (torch.arange(len(bank), device=bank.device),))


def nt_xent(model: nn.Module, other: Tensor | None = None, temperature: float = 0.5) -> Objective:
    """NT-Xent (SimCLR, eq. 1); the n scores sum to the loss of all 2n rows, so its gradient is the batch's.

    `other` None: `x` stacks both views (first half against second half) and both are attacked (ACL, ASTrA).
    `other` (n, C, H, W): `x` is view one, against these fixed second views (RoCL). Coupled: cannot be cut.
    """
    fixed = None if other is None else reference_embeddings(model, other)

    def score(embedding: Tensor) -> Tensor:
        both = embedding if fixed is None else torch.cat([embedding, fixed])
        rows = nt_xent_rows(both, temperature)
        return rows if fixed is None else rows.view(2, -1).sum(0)

    return Objective((model,), embedder(model), score, coupled=True)
