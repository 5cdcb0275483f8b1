"""How noisy ASTrA's policy gradient is, and what its one seed does to the three heads (weak points 1, 2 and 4)."""

import torch
from torch import Generator, Tensor

from lib.errors import WorkbookError, choices
from lib.evaluation.effects import correlation
from lib.studies.robust_ssl.astra.strategy import HEADS, RELEASED, Actions, Logits, Ranges, draw_actions

CREDITED = ("batch", "batch with baseline", "view", "view with baseline")
PAIRS = (("eps", "steps"), ("eps", "step"), ("steps", "step"))
Found = dict[str, Tensor]


def scores_of(logits: Logits, actions: Actions) -> Tensor:
    """Gradient (n, K) of each view's log-probability to its own logits, the heads side by side: chosen less chance."""
    parts = []
    for at, scores in enumerate(logits):
        p = scores.softmax(1)
        parts.append(torch.zeros_like(p).scatter_(1, actions.index[:, at : at + 1], 1.0) - p)
    return torch.cat(parts, 1)


def estimates(scores: Tensor, rewards: Tensor, credit: str = "batch") -> Tensor:
    """REINFORCE's gradients (R, K) of the mean reward to the biases of the heads, one for each of R draws.

    scores (R, n, K): `scores_of` each draw; rewards (R, n): of each view in each draw. "batch": every score times the
    batch's mean reward, as released; with the baseline: less the mean of all other draws. "view": every score times its
    own reward over n, which leaves out what a view's action does to the others; with the baseline: less the mean of the
    other views.
    """
    draws, n = rewards.shape
    if credit.startswith("batch"):
        paid = rewards.mean(1)
        paid = paid - (paid.sum() - paid) / (draws - 1) if credit.endswith("baseline") else paid
        return paid[:, None] * scores.sum(1)
    if credit not in CREDITED:
        raise WorkbookError(f"Credit is given by {choices(CREDITED)}, not by '{credit}': choose one.")
    others = (rewards.sum(1, keepdim=True) - rewards) / (n - 1)
    paid = rewards - others if credit.endswith("baseline") else rewards
    return (paid[:, :, None] * scores).mean(1)


def noise(gradients: Tensor) -> Tensor:
    """Total variance of estimates (R, K) over the draws."""
    return gradients.double().var(0).sum()


def noise_ratio(one: Tensor, other: Tensor) -> Tensor:
    """Total variance of the first estimates (R, K) over that of the second, of the same draws."""
    return noise(one) / noise(other).clamp_min(1e-30)


def head_correlations(
    logits: Logits, repeats: int, way: str = "released", ranges: Ranges = RELEASED, seed: int = 0
) -> Tensor:
    """Correlations (repeats, 3) over the views of what two heads choose, for `PAIRS`.

    way: "released", the seed reset before each head; "independent"; "one number", a single uniform number for each
    view through the inverse of each head's distribution, the most that sharing could do.
    """
    generator = Generator().manual_seed(seed)
    found = []
    for _ in range(repeats):
        values = _values(logits, way, ranges, generator)
        found.append(torch.stack([correlation(values[one], values[other]) for one, other in PAIRS]))
    return torch.stack(found).nan_to_num()


def first_view_choices(
    logits: Logits, repeats: int, way: str = "released", ranges: Ranges = RELEASED, seed: int = 0
) -> Tensor:
    """What two heads choose for the first view of a batch, over the batches: values (repeats, 3), a column a head."""
    generator = Generator().manual_seed(seed)
    rows = [
        torch.stack([values[name][0] for name in HEADS])
        for values in (_values(logits, way, ranges, generator) for _ in range(repeats))
    ]
    return torch.stack(rows)


def _values(logits: Logits, way: str, ranges: Ranges, generator: Generator) -> Found:
    if way == "one number":
        actions = _by_one_number(logits, ranges, generator)
    elif way in ("released", "independent"):
        actions = draw_actions(logits, generator, ranges, shared=way == "released")
    else:
        raise WorkbookError(f"Heads are drawn released, independent or one number, not '{way}': choose one.")
    return {name: actions.values(name).double() for name in HEADS}


def _by_one_number(logits: Logits, ranges: Ranges, generator: Generator) -> Actions:
    u = torch.rand(len(logits[0]), 1, generator=generator)
    columns = [(scores.softmax(1).cumsum(1) < u).sum(1).clamp_max(scores.shape[1] - 1) for scores in logits]
    return Actions(torch.stack(columns, 1), ranges)
