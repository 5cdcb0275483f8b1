"""Seven expressions in one order, whatever a set calls them, and the majority of FER+'s votes."""

import torch
from torch import LongTensor, Tensor

from lib.data.datasets.expressions import EXPRESSIONS as KAGGLE
from lib.data.datasets.expressions import VOTES
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

EXPRESSIONS = ("Surprise", "Fear", "Disgust", "Happiness", "Sadness", "Anger", "Neutral")  # RAF-DB's order
CALLED = {"happy": 3, "sad": 4, "angry": 5} | {name.lower(): at for at, name in enumerate(EXPRESSIONS)}


def majority(votes: Tensor) -> LongTensor:
    """FER+'s votes (n, 10) to classes of `EXPRESSIONS` (n,); -1 where no vote leads or another word does."""
    place = torch.tensor([CALLED.get(name, -1) for name in VOTES])
    top = votes.topk(2, dim=1)
    leads = (top.values[:, 0] > top.values[:, 1]) & (top.values[:, 0] > 0)
    return place[top.indices[:, 0]].where(leads, -1)


def expressions_of(images: ImageSet) -> LongTensor:
    """The expression (n,) of each picture, a place in `EXPRESSIONS`: by FER+, by the set's classes, or exact.

    -1 where a picture has none. Raises where the set knows no expression at all.
    """
    if "votes" in images.attributes:
        return majority(images.attributes["votes"])
    if "expression" in images.attributes:
        return torch.tensor([CALLED[name] for name in KAGGLE])[images.attributes["expression"]]
    place = [CALLED.get(name.lower(), -1) for name in images.classes]
    if max(place) < 0:
        raise WorkbookError(f"'{images.name}' knows no expression: take fer2013 or raf_db.")
    return torch.tensor(place)[images.labels]
