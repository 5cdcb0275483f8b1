"""Rewards, credit and the policy gradient against formulas written out."""

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows
from lib.studies.robust_ssl.astra.reward import Weights, credited, policy_loss, similarity, view_rewards
from tests.studies.robust_ssl.astra.small import draw


def unit(n=8, seed=0):
    return F.normalize(torch.randn(n, 5, generator=draw(seed)), dim=1)


def test_rewards_against_the_formula():
    clean, attacked = unit(), unit(seed=1)
    pulled = nt_xent_rows(torch.cat([clean, attacked]), 0.5).view(2, -1).mean(0)
    expected = (2 * nt_xent_rows(attacked, 0.5) - 3 * nt_xent_rows(clean, 0.5) - 4 * pulled) / 3
    assert torch.allclose(view_rewards(clean, attacked, Weights(4, 2, 3)), expected)
    released = (nt_xent_rows(attacked, 0.5).mean() - nt_xent_rows(clean, 0.5).mean()) / 3
    assert torch.allclose(view_rewards(clean, attacked).mean(), released)


def test_similarity_has_the_attacked_copy_for_its_positive():
    """Written out: of 4b rows the positive is 2b further on, the other view of the picture is a negative."""
    clean, attacked = unit(), unit(seed=1)
    rows = torch.cat([clean, attacked]) @ torch.cat([clean, attacked]).T / 0.5
    loss = []
    for at in range(16):
        others = [other for other in range(16) if other != at]
        loss.append(rows[at, others].exp().sum().log() - rows[at, (at + 8) % 16])
    assert torch.allclose(similarity(clean, attacked), torch.stack(loss).view(2, 8).mean(0), atol=1e-6)


def test_credit():
    rewards = torch.tensor([1.0, 2.0, 6.0])
    assert credited(rewards).tolist() == [3, 3, 3]
    assert credited(rewards, "view").tolist() == [1, 2, 6]
    assert credited(rewards, "view with baseline").tolist() == [1 - 4, 2 - 3.5, 6 - 1.5]
    assert credited(rewards, "constant").tolist() == [1, 1, 1]
    with pytest.raises(WorkbookError, match="Credit is given by"):
        credited(rewards, "luck")


def test_policy_gradient_points_to_the_better_of_two_actions():
    """The exact gradient of a bandit's expected reward, and REINFORCE's mean over many draws."""
    logits = torch.tensor([0.3, -0.2, 0.1], requires_grad=True)
    paid = torch.tensor([1.0, 0.0, 2.0])
    (exact,) = torch.autograd.grad((logits.softmax(0) * paid).sum(), logits)
    chosen = torch.multinomial(logits.detach().softmax(0), 200_000, replacement=True, generator=draw())
    loss = policy_loss(logits.log_softmax(0)[chosen], paid[chosen]) / 200_000
    (found,) = torch.autograd.grad(-loss, logits)
    assert torch.allclose(found, exact, atol=0.01)
