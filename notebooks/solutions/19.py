"""Solutions of page 19. Open exercise 19-3: such a reward costs a step and an attack more; expect small, noisy gains."""

import torch


def own_credit(logits, actions, rewards):
    """Gradient (n, k) to climb: logits (n, k), actions (n,) the entries drawn, rewards (n,)."""
    others = (rewards.sum() - rewards) / (len(rewards) - 1)
    scores = torch.nn.functional.one_hot(actions, logits.shape[1]) - logits.softmax(1)
    return (rewards - others)[:, None] * scores


def attack_passes(steps):
    """(shrinking, masked) numbers of passes for numbers of iterations steps (n,)."""
    shrinking = 2 * steps.sum() + (steps < steps.max()).sum()
    return shrinking, 2 * steps.max() * len(steps)
