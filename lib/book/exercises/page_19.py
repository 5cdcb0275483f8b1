"""Exercises of page 19: the policy gradient with a baseline, and the passes that a shrinking batch takes."""

from collections.abc import Callable

import torch
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def policy_gradient(function: Callable) -> None:
    """REINFORCE's gradient of one head's logits, each view paid for itself less the others' mean."""
    draw = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=draw)
    actions = torch.tensor([0, 3, 1, 1, 2, 0])
    rewards = torch.tensor([1.0, 2.0, 4.0, 3.0, 0.5, 2.5])
    found = function(logits, actions, rewards)
    expect(isinstance(found, Tensor) and found.shape == logits.shape, "return one gradient for each logit, (n, k)")
    scores = torch.nn.functional.one_hot(actions, 4) - logits.softmax(1)
    others = (rewards.sum() - rewards) / 5
    alike = {
        "without a baseline every action is praised: take off the mean of the other views": rewards,
        "that is the released credit, one reward for all: give each view its own": rewards.mean().expand(6),
        "a view's own reward is no baseline for itself: the mean is over the others": rewards - rewards.mean(),
        "the sign: an action that paid more than the others becomes more likely": others - rewards,
    }
    for hint, credit in alike.items():
        expect(not torch.allclose(found, credit[:, None] * scores, atol=1e-5), hint)
    chosen = torch.nn.functional.one_hot(actions, 4) * (rewards - others)[:, None]
    expect(not torch.allclose(found, chosen, atol=1e-5), "the other entries move too: take off their probabilities")
    expect(torch.allclose(found, (rewards - others)[:, None] * scores, atol=1e-5), "not credit times (chosen less p)")


def shrinking_passes(function: Callable) -> None:
    """Passes of the shrinking and of the masked attack."""
    steps = torch.tensor([3, 14, 5, 5, 9, 3])
    found = function(steps)
    expect(isinstance(found, tuple | list) and len(found) == 2, "return two numbers: shrinking, masked")
    shrunk, masked = (float(part) for part in found)
    expect(masked != 14 * 6, "the masked batch passes forward and back at each iteration: twice")
    expect(masked == 2 * 14 * 6, "the masked batch goes on to the largest count with all views")
    expect(shrunk != 2 * 39, "the others still need where a finished view has come to: one more pass forward for it")
    expect(shrunk != 2 * 39 + 6, "a view that takes the most iterations is never waited for: no pass more")
    expect(shrunk == 2 * 39 + 5, "two passes for each own iteration, one more for each view that leaves early")


EXERCISES = [
    Exercise(
        "19-p",
        "predict",
        "By how many points does ASTrA beat random actions under attack?",
        1,
        1,
        "Both train for as many passes with the mixed loss; one learns its actions, one draws them evenly. Write your "
        "guess (it may be below zero) before you look at the picture below.",
        'predict("19-p", None)',
    ),
    Exercise(
        "19-1",
        "code",
        "A reward of one's own.",
        15,
        2,
        "Give REINFORCE's gradient with respect to one head's logits when each view is paid its own reward less the "
        "mean reward of the *other* views.",
        """def own_credit(logits, actions, rewards):
    \"\"\"Gradient (n, k) to climb: logits (n, k), actions (n,) the entries drawn, rewards (n,).\"\"\"
    raise NotImplementedError


check("19-1", own_credit)""",
        policy_gradient,
    ),
    Exercise(
        "19-2",
        "code",
        "What a shrinking batch costs.",
        10,
        1,
        "Each view takes its own number of iterations. Count the passes (a gradient is one forward and one back) of "
        "the attack whose batch shrinks, and of the one that masks. A view that leaves before the last is passed "
        "forward once more, for the others are compared with where it has come to.",
        """def attack_passes(steps):
    \"\"\"(shrinking, masked) numbers of passes for numbers of iterations steps (n,).\"\"\"
    raise NotImplementedError


check("19-2", attack_passes)""",
        shrinking_passes,
    ),
    Exercise(
        "19-3",
        "open",
        "A reward that means robustness.",
        90,
        3,
        "The released reward is the attack's success at the moment, so the strongest attack wins. What should be paid "
        "instead is what the encoder learns from the attack. Write a reward that measures that (for instance how much "
        "the loss of *other* attacked pictures falls after the encoder's step), train with it, and compare with random "
        "actions for as many passes, your reward's passes included.",
    ),
]
