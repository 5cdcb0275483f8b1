"""Which labels the semi-supervised stage of ACL-triplet knows; its losses are the core's adversarial contrast."""

import torch
from torch import LongTensor

from lib.errors import WorkbookError


def some_labels(labels: LongTensor, share: float, seed: int = 0) -> LongTensor:
    """labels (n,) with those of a random `share` of the people kept, and -1 for all pictures of the others."""
    if not 0 <= share <= 1:
        raise WorkbookError(f"A share of labelled people lies between 0 and 1, not at {share}: give 10 % as 0.1.")
    people, person = labels.unique(return_inverse=True)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    return labels.where(order[person] < round(share * len(people)), -1)
