"""Where the negatives of asymmetric negative contrast come from (ANCRA, Table I).

Random: any example of another class in the batch. Soft-LS: one that is classified as the anchor is. Hard-LS: one that
is classified as the anchor's true class. Targeted: a random one, attacked until it looks like the anchor's class.
The first and the last exist in every batch of two classes; the other two are often missing.
"""

import torch
from torch import LongTensor, Tensor

from lib.errors import WorkbookError, choices

STRATEGIES = ("random", "soft", "hard", "targeted")


def candidates(strategy: str, labels: Tensor, predicted: Tensor | None = None) -> Tensor:
    """Which rows (n, n) may serve as the negative of each anchor; labels and predicted classes (n,)."""
    if strategy not in STRATEGIES:
        raise WorkbookError(f"A strategy for negatives is one of {choices(STRATEGIES)}, not '{strategy}': choose one.")
    other = labels[:, None] != labels
    if strategy in ("random", "targeted"):
        return other
    if predicted is None:
        raise WorkbookError(f"The strategy '{strategy}' needs the predicted classes of the batch: give them.")
    wanted = predicted if strategy == "soft" else labels
    return other & (wanted[:, None] == predicted)


def choose(strategy: str, labels: Tensor, generator: torch.Generator, predicted: Tensor | None = None) -> LongTensor:
    """Rows (n,) of one negative for each anchor, drawn evenly among its candidates, else among all of another class.

    Where a strategy has several candidates the released code takes the most similar; the text says nothing.
    """
    other = candidates("random", labels)
    if not other.any(1).all():
        raise WorkbookError("Negatives need at least two classes in a batch, but one came: make the batch larger.")
    fit = candidates(strategy, labels, predicted)
    weights = torch.where(fit.any(1, keepdim=True), fit, other).float().cpu()
    return torch.multinomial(weights, 1, generator=generator).squeeze(1).to(labels.device)
