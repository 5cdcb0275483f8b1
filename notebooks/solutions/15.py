"""Solutions of page 15. Open exercise 15-3: the circle can show complete collapse; two dimensions hardly show a loss of rank."""

import torch.nn.functional as F


def spread(features):
    """One number from features (n, d): about 1 where they are spread evenly, 0 where they have collapsed."""
    unit = F.normalize(features, dim=1)
    return float(unit.std(0, unbiased=False).mean() * features.shape[1] ** 0.5)


def codes(scores, eps, rounds):
    """Codes (n, K) from scores (n, K): rows that add up to 1, and columns of nearly equal sums."""
    table = (scores / eps).exp()
    for _ in range(rounds):
        table = table / table.sum(0)
        table = table / table.sum(1, keepdim=True)
    return table
