"""Scores of verification pairs straight from a set of faces."""

import torch
from torch import Tensor

from lib.data import ImageSet, Pairs
from lib.models import Recogniser, embed_all
from lib.progress import progress

CHUNK = 512  # faces read at once


def pair_scores(model: Recogniser, faces: ImageSet, pairs: Pairs) -> Tensor:
    """Cosine similarity (P,) of the pairs of a set, on the CPU; each face is read and embedded once."""
    needed, place = torch.cat([pairs.first, pairs.second]).unique(return_inverse=True)
    chunks = progress(needed.split(CHUNK), "embedding faces")
    embedded = torch.cat([embed_all(model, faces.images(chunk)) for chunk in chunks])
    first, second = embedded[place.to(embedded.device)].chunk(2)
    return (first * second).sum(1).cpu()
