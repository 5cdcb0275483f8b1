"""How pages 12 to 14 sum up what they measured: trainings, kinds of pairs, features in the plane."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lib.evaluation.intervals import wilson
from lib.interval import Interval


def plane_of(features: Tensor, seed: int = 0, quick: bool = False) -> Tensor:
    """Points (n, 2) of features (n, C): their UMAP, as in the source's Figures 4 and 5.

    quick: the two first principal components instead, for a rehearsal: UMAP is compiled anew in each process, for ten
    seconds. UMAP gives torch the threads of the whole machine, which small networks lose by; the number is put back.
    """
    if quick:
        centred = features - features.mean(0)
        return centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:2].T
    from umap import UMAP

    threads = torch.get_num_threads()
    near = min(15, len(features) - 2)
    try:
        flat = UMAP(n_neighbors=near, init="pca", random_state=seed, n_jobs=1).fit_transform(features.numpy())
    finally:
        torch.set_num_threads(threads)
    return torch.from_numpy(flat)


def first_seed(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The first training's values of what was measured on several: name -> (1, n) of (seeds, n)."""
    return {name: values[:1] for name, values in found.items()}


def best_and_last(history: Mapping[str, Tensor], images: int) -> dict[str, Interval]:
    """Table IX's accuracies of one training in per cent, of so many held-out images: at the chosen look and the last.

    history: "held_out", "clean error" and "PGD error" (looks,) as `RobustError` gives them.
    """
    moments = {"Best": int(history["held_out"].argmin()), "Last": -1}
    found = {}
    for moment, at in moments.items():
        for name, key in (("Nat", "clean error"), ("PGD", "PGD error")):
            correct = round((1 - history[key][at].item()) * images)
            found[f"{moment}-{name}"] = wilson(correct, images).scaled(100)
    return found
