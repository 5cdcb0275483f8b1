"""Losses of adversarial training, as pure functions of logits: PGD-AT, TRADES, MART."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def natural(clean: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of clean images: no defence."""
    return F.cross_entropy(clean, labels)


def pgd_at(clean: Tensor, attacked: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of attacked images (Madry et al. 2018)."""
    return F.cross_entropy(attacked, labels)


def trades(clean: Tensor, attacked: Tensor, labels: Tensor, beta: float = 6.0) -> Tensor:
    """Cross-entropy of clean images plus beta KL(p(clean) || p(attacked)) (Zhang et al. 2019)."""
    return F.cross_entropy(clean, labels) + beta * divergence(clean, attacked).mean()


def mart(clean: Tensor, attacked: Tensor, labels: Tensor, beta: float = 5.0) -> Tensor:
    """Boosted cross-entropy of attacked images plus beta times a KL weighted by doubt (Wang et al. 2020, eq. 11).

    Boosted: the best wrong class is pushed down as well. Doubt: one less the clean probability of the label.
    """
    probability = attacked.softmax(1)
    wrong = probability.scatter(1, labels[:, None], 0.0).amax(1)
    boosted = F.cross_entropy(attacked, labels) - torch.log(1.0001 - wrong).mean()
    doubt = 1 - clean.softmax(1).gather(1, labels[:, None]).squeeze(1)
    return boosted + beta * (divergence(clean, attacked) * doubt).mean()


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """KL(p(clean) || p(attacked)) of logits (n, K), as (n,)."""
    return F.kl_div(attacked.log_softmax(1), clean.log_softmax(1), reduction="none", log_target=True).sum(1)


BASES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "natural": natural,
    "PGD-AT": pgd_at,
    "TRADES": trades,
    "MART": mart,
}
