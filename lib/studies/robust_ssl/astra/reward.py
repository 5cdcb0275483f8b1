"""What ASTrA's strategy is paid for, how it learns from that, and the mixed contrastive loss of the encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lib.errors import WorkbookError, choices
from lib.losses.contrastive import nt_xent_rows

CREDITS = ("batch", "view", "view with baseline", "constant")


@dataclass(frozen=True)
class Weights:
    """Of the reward's three losses. The release runs with 0, 1, 1; its text has a similarity above 0, too."""

    similarity: float = 0.0  # r1: NT-Xent of each view and its attacked copy, taken off
    attacked: float = 1.0  # r2: NT-Xent of both attacked views
    clean: float = 1.0  # r3: NT-Xent of both clean views, taken off


PAID = Weights()  # as released


def view_rewards(clean: Tensor, attacked: Tensor, weights: Weights = PAID, temperature: float = 0.5) -> Tensor:
    """Reward (2n,) of each view, of unit projections (2n, d) of clean and of attacked views.

    The release pays every view the mean of these.
    """
    paid = weights.attacked * nt_xent_rows(attacked, temperature)
    if weights.clean:
        paid = paid - weights.clean * nt_xent_rows(clean, temperature)
    if weights.similarity:
        paid = paid - weights.similarity * similarity(clean, attacked, temperature)
    return paid / 3


def similarity(clean: Tensor, attacked: Tensor, temperature: float = 0.5) -> Tensor:
    """NT-Xent (2n,) in which the positive of a view is its own attacked copy, the mean of the two directions.

    All others are negatives, the other view of the same picture among them.
    """
    return nt_xent_rows(torch.cat([clean, attacked]), temperature).view(2, -1).mean(0)


def credited(rewards: Tensor, credit: str = "batch") -> Tensor:
    """What each view's action is multiplied with (n,), of the views' own rewards (n,).

    credit: "batch", the mean, for all (the release); "view", its own; "view with baseline", that less the others' mean;
    "constant", 1 for all: a control that knows nothing of the attack.
    """
    if credit not in CREDITS:
        raise WorkbookError(f"Credit is given by {choices(CREDITS)}, not by '{credit}': choose one.")
    if credit == "batch":
        return rewards.mean().expand(len(rewards))
    if credit == "view":
        return rewards
    if credit == "constant":
        return torch.ones_like(rewards)
    others = (rewards.sum() - rewards) / max(1, len(rewards) - 1)
    return rewards - others


def policy_loss(log_probability: Tensor, credit: Tensor) -> Tensor:
    """REINFORCE: minus the sum over the views of log-probability (n,) times credit (n,)."""
    return -(log_probability * credit.detach()).sum()
