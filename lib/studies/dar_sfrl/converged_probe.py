"""Linear probes brought to convergence, and what differently chosen probes read (page 10)."""

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.studies.dar_sfrl.evaluation import ProbeRecipe, features_of, fit_probe


def fit_logistic(
    learn: Tensor, labels: LongTensor, held: tuple[Tensor, LongTensor], decays: tuple[float, ...], steps: int = 100
) -> dict[str, Tensor]:
    """Logistic regression of features (n, d) by L-BFGS, its penalty chosen on held-out features; as `fit_probe` gives.

    decays: of half the squared weights, per image. "decay" is the chosen one, "held accuracy" one number for each.
    """
    mean = learn.mean(0)
    std = learn.std(0).clamp_min(1e-6)
    learn = (learn - mean) / std
    x = (held[0] - mean) / std
    found: dict[str, Tensor] = {"mean": mean, "std": std}
    reached: list[float] = []
    for decay in decays:
        layer = nn.Linear(learn.shape[1], int(labels.max()) + 1)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        minimise(layer, learn, labels, decay, steps)
        right = (layer(x).argmax(1) == held[1]).float().mean().item()
        if right > max(reached, default=-1.0):
            found |= {"held weight": layer.weight.detach().clone(), "held bias": layer.bias.detach().clone()}
            found["decay"] = torch.tensor(decay)
        reached.append(right)
    return found | {"held accuracy": torch.tensor(reached)}


def minimise(layer: nn.Linear, x: Tensor, labels: LongTensor, decay: float, steps: int) -> None:
    """Full-batch L-BFGS with line search on the cross-entropy and half the squared weights times `decay`."""
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer(x), labels) + decay / 2 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)


def logistic_of_images(
    encoder: nn.Module, images: dict[str, Tensor], labels: dict[str, LongTensor], decays: tuple[float, ...]
) -> dict[str, Tensor]:
    """`fit_logistic` on an encoder's features of the parts "learn" and "held"."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    features = {name: features_of(encoder, images[name], device) for name in ("learn", "held")}
    return fit_logistic(features["learn"], labels["learn"], (features["held"], labels["held"]), decays)


def chosen_on_halves(
    encoder: nn.Module, images: dict[str, Tensor], labels: dict[str, LongTensor], recipe: ProbeRecipe
) -> dict[str, Tensor]:
    """Which test images (n,) are read rightly with the epoch chosen on the "same" half of them, or on the "other".

    The difference is what choosing on the reported images gains; it may come out below zero.
    """
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    features = {name: features_of(encoder, images[name], device) for name in ("learn", "test")}
    test = labels["test"]
    halves = {f"half {start}": (features["test"][start::2], test[start::2]) for start in (0, 1)}
    fitted = fit_probe(features["learn"], labels["learn"], halves, recipe)
    x = (features["test"] - fitted["mean"]) / fitted["std"]
    answer = {name: (x @ fitted[f"{name} weight"].T + fitted[f"{name} bias"]).argmax(1) for name in halves}
    even = torch.arange(len(test)) % 2 == 0
    return {
        "same": torch.where(even, answer["half 0"], answer["half 1"]) == test,
        "other": torch.where(even, answer["half 1"], answer["half 0"]) == test,
    }


def read_rightly(
    encoder: nn.Module, images: Tensor, labels: LongTensor, fits: dict[str, dict[str, Tensor]], looks: dict[str, str]
) -> dict[str, Tensor]:
    """Which images (n,), uint8, linear probes on one encoder read rightly; looks: of each fit, whose weights."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    features = features_of(encoder, images, device)
    found = {}
    for name, fitted in fits.items():
        scores = (features - fitted["mean"]) / fitted["std"] @ fitted[f"{looks[name]} weight"].T
        found[name] = (scores + fitted[f"{looks[name]} bias"]).argmax(1) == labels
    return found
