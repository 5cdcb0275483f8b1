"""Solutions of page 10.

Open exercise 10-3: a linear classifier of raw pixels is nearly the model itself wherever the restoration is nearly the
identity, so what it finds transfers well. A small drop under one surrogate speaks of that surrogate.
"""


def momentum_step(x, clean, gradient, momentum, size, eps):
    """(images, momentum) after one step of `size` from x (n, C, H, W), within eps of clean and within [0, 1]."""
    momentum = momentum + gradient / gradient.abs().mean((1, 2, 3), keepdim=True)
    moved = x + size * momentum.sign()
    return (clean + (moved - clean).clamp(-eps, eps)).clamp(0, 1), momentum


def worst_accuracy(clean, attacked):
    """Share in [0, 1] from right-or-wrong of the clean images (n,) and under each attack (attacks, n), bool."""
    return (clean & attacked.all(0)).double().mean().item()
