"""Margin losses of face recognition."""

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_margin_loss(embeddings: Tensor, prototypes: Tensor, labels: Tensor, scale: float, margin: float) -> Tensor:
    """CosFace's softmax (Wang et al. 2018, equation 4): the cosine to one's own class must win by `margin`.

    `embeddings` (n, d) and `prototypes` (classes, d) are raw and get normalised here; `labels` (n,) int64.
    """
    cosine = F.normalize(embeddings, dim=1) @ F.normalize(prototypes, dim=1).T
    return F.cross_entropy(scale * (cosine - margin * F.one_hot(labels, len(prototypes))), labels)


def class_means(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Prototypes (classes, d), of unit length: the mean of each person's embeddings (n, d); labels (n,) from 0."""
    sums = torch.zeros(int(labels.max()) + 1, embeddings.shape[1], device=embeddings.device)
    return F.normalize(sums.index_add_(0, labels.to(embeddings.device), embeddings.float()), dim=1)
