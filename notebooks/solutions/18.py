"""Solutions of page 18. Open exercise 18-3: expect the student to be stable with any teacher, but to know only what it knows."""

import torch


def loss_of_views(rows, views, tau):
    """One number from unit rows (views * n, d); rows i, i + n, i + 2n, ... show one picture."""
    similarity = rows @ rows.T / tau
    similarity.fill_diagonal_(-torch.inf)
    picture = torch.arange(len(rows) // views).repeat(views)
    positive = (picture[:, None] == picture).fill_diagonal_(False)
    return -similarity.log_softmax(1)[positive].mean()


def passes(views, steps):
    """Forward passes that a training step is worth for each picture, with so many views and steps of the attack."""
    attack = 2 * steps
    learnt = 3 if steps == 0 else 6
    return views * (attack + learnt)
