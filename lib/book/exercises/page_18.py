"""Exercises of page 18: the loss of three views, and what a step costs in passes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.book.exercises.base import Exercise, expect


def three_views(function: Callable) -> None:
    """NT-Xent of several views of each picture."""
    draw = torch.Generator().manual_seed(0)
    rows = F.normalize(torch.randn(15, 4, generator=draw), dim=1)  # three views of five pictures
    found = function(rows, 3, 0.5)
    expect(isinstance(found, Tensor) and found.shape == (), "return one number: the mean over all rows")
    similarity = rows @ rows.T / 0.5
    others = similarity.masked_fill(torch.eye(15, dtype=torch.bool), -torch.inf)
    picture = torch.arange(5).repeat(3)
    same = (picture[:, None] == picture).fill_diagonal_(False)
    chance = others.log_softmax(1).masked_fill(~same, 0)
    alike = {
        "a row's two positives: take the mean of both, not the sum": -chance.sum(1).mean(),
        "a row is no negative of itself: leave it out of the softmax": -(
            similarity.log_softmax(1).masked_fill(~same, 0).sum(1).mean() / 2
        ),
        "rows i, i + n and i + 2n show one picture, not three neighbours": -(
            others.log_softmax(1).masked_fill(~neighbours(), 0).sum(1).mean() / 2
        ),
    }
    for hint, wrong in alike.items():
        expect(not torch.allclose(found, wrong, atol=1e-5), hint)
    expect(torch.allclose(found, -chance.sum(1).mean() / 2, atol=1e-5), "not the mean of -log softmax over positives")


def neighbours() -> Tensor:
    """Which of fifteen rows would be one picture if views stood side by side."""
    picture = torch.arange(5).repeat_interleave(3)
    return (picture[:, None] == picture).fill_diagonal_(False)


def cost(function: Callable) -> None:
    """Forward passes that a step is worth."""
    found = {(views, steps): function(views, steps) for views, steps in ((2, 0), (2, 5), (1, 7))}
    right = {(views, steps): views * (2 * steps + 3 * (2 if steps else 1)) for views, steps in found}
    alike = {
        "a step of the attack also goes back to the picture: it costs two": lambda v, k: v * (k + 3 * (2 if k else 1)),
        "a gradient of the picture alone costs one pass more, not two": lambda v, k: v * (3 * k + 3 * (2 if k else 1)),
        "the attacked views are learnt from, too": lambda v, k: v * (2 * k + 3),
        "each view is attacked: multiply by their number": lambda v, k: 2 * k + 3 * v * (2 if k else 1),
    }
    for hint, wrong in alike.items():
        expect(any(found[case] != wrong(*case) for case in found), hint)
    expect(found == right, f"not {[*right.values()]} for 2 views without attack, 2 with 5 steps, 1 with 7")


EXERCISES = [
    Exercise(
        "18-p",
        "predict",
        "How many points of robust accuracy does ACL's encoder keep under PGD-20 at 8/255, behind a linear layer?",
        1,
        1,
        "The published network keeps about 40 % of CIFAR-10. Here it is tiny and trained for a few epochs; guessing "
        "one of ten classes would give 10 %. Write your guess before you look at the picture below.",
        'predict("18-p", None)',
    ),
    Exercise(
        "18-1",
        "code",
        "Three views.",
        20,
        2,
        "RoCL compares three views of each picture, AdvCL four. Give the mean loss over all rows: minus the log "
        "softmax of a row's positives, averaged over them; a row is left out of its own softmax.",
        """def loss_of_views(rows, views, tau):
    \"\"\"One number from unit rows (views * n, d); rows i, i + n, i + 2n, ... show one picture.\"\"\"
    raise NotImplementedError


check("18-1", loss_of_views)""",
        three_views,
    ),
    Exercise(
        "18-2",
        "code",
        "What does a step cost?",
        10,
        1,
        "Count a forward pass as 1, a gradient with respect to the picture as 1 more, one with respect to the weights "
        "as 2 more. A step attacks each view K times, then learns from the clean and from the attacked views. With "
        "K = 0 it learns from clean views alone.",
        """def passes(views, steps):
    \"\"\"Forward passes that a training step is worth for each picture, with these views and attack steps.\"\"\"
    raise NotImplementedError


check("18-2", passes)""",
        cost,
    ),
    Exercise(
        "18-3",
        "open",
        "A teacher for nothing?",
        60,
        3,
        "DeACL follows a teacher that saw no attack. Replace the teacher by an untrained encoder, by one trained with "
        "labels, and by DeACL's own slow copy. Which of them gives a robust student, at equal passes with the "
        "teacher's training counted? Say before you train what the loss would reward in each case.",
    ),
]
