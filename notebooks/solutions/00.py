"""Solutions of page 00. Open exercise 00-3: compare the errors by person first; small sets have wide intervals."""

import torch


def error_rates(scores, same, threshold):
    """FAR and FRR of scores (P,) with labels same (P,), True for a genuine pair."""
    accepted = scores >= threshold
    far = accepted[~same].float().mean().item()
    frr = (~accepted[same]).float().mean().item()
    return far, frr


def equal_error_rate(scores, same):
    """EER of scores (P,) with labels same (P,), between 0 and 1."""
    rates = torch.tensor([error_rates(scores, same, threshold) for threshold in scores.sort().values])
    gap = (rates[:, 0] - rates[:, 1]).abs()
    return rates[gap.argmin()].mean().item()
