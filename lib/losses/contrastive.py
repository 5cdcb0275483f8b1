"""Contrastive losses of unit embeddings, and two measures of what they reach."""

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor

from lib.errors import WorkbookError


def supervised_contrastive(both: Tensor, labels: LongTensor, temperature: float) -> Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, equation 2, L_out), the mean over 2n unit embeddings.

    both (2n, d): rows i and i + n are two views of picture i; labels (n,). The positives of a row are all other rows
    of its label, those of an unlabelled row (-1) its own other view alone; so with all -1 this is NT-Xent. In float32
    whatever the autocast. Ours for speed: pytorch-metric-learning's SupConLoss gives the same number in three to four
    times the time (and 0 where a batch holds one person), and its NTXentLoss needs memory of order n cubed.
    """
    if labels.shape != (len(both) // 2,) or len(both) % 2:
        raise WorkbookError(
            f"The two views of n pictures are 2n rows with n labels, but {len(both)} rows and labels of shape "
            f"{tuple(labels.shape)} came: stack the views and give one label per picture."
        )
    own = alone(labels).repeat(2)
    same = (own[:, None] == own).fill_diagonal_(False)
    with torch.autocast(both.device.type, enabled=False):
        similarity = both.float() @ both.float().T / temperature
    chance = similarity.fill_diagonal_(-torch.inf).log_softmax(1)
    return -(chance.masked_fill(~same, 0).sum(1) / same.sum(1)).mean()


def alone(labels: LongTensor) -> LongTensor:
    """labels (n,) in which each unlabelled picture (-1) has a negative label of its own."""
    return torch.where(labels < 0, -1 - torch.arange(len(labels), device=labels.device), labels)


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of unit embeddings (n, d) that should agree (Wang and Isola 2020); 0 is best."""
    return (first - second).square().sum(1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean of exp(-2 distance^2) over all couples of unit embeddings (n, d) (Wang and Isola 2020).

    Lower is more even, down to near -4 on the whole sphere; 0 is collapse, and what one row alone gives.
    """
    if len(embeddings) < 2:
        return embeddings.new_zeros(())
    return torch.pdist(embeddings.float()).square().mul(-2).exp().mean().log()


def nt_xent_rows(both: Tensor, temperature: float) -> Tensor:
    """NT-Xent of each row of unit embeddings (2n, d), where rows i and i + n are two views of one picture."""
    similarity = both @ both.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    partner = torch.arange(len(both), device=both.device).roll(len(both) // 2)
    return F.cross_entropy(similarity, partner, reduction="none")
