"""How pages 12 to 14 sum up what they measured: trainings, kinds of pairs, features in the plane."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.evaluation.effects import mean_where
from lib.evaluation.intervals import wilson
from lib.interval import Interval
from lib.studies.ancra.feature_gap import PLACES, relative


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


@dataclass(frozen=True, eq=False)
class FeaturePairs:
    """What `gaps` measured on several networks: network -> pair -> measure -> values (seeds, n, places) or (seeds, n).

    Pairs are "NP" and the attacks that made the positive ones; measures are those of `gaps`.
    """

    found: Mapping[str, Mapping[str, Mapping[str, Tensor]]]

    def values(self, name: str, pair: str, measure: str = "cosine", place: str = "features") -> Tensor:
        """One measure of one kind of pair (seeds, n); "L2 / NP" is L2 in units of the network's own negative pairs."""
        at = PLACES.index(place)
        if measure == "L2 / NP":
            return relative(*(self.found[name][kind]["L2"][..., at] for kind in (pair, "NP")))
        return self.found[name][pair][measure][..., at].double()

    def split(self, name: str, pair: str) -> tuple[Tensor, Tensor]:
        """Cosines (seeds, n), and where both sides differ in a mask (without gates: in the predicted class)."""
        return self.values(name, pair), self.found[name][pair]["switched"]


def pooled_quantile(share: float) -> Callable[..., Tensor]:
    """A statistic: the quantile of the pooled values of several networks."""
    return lambda *parts: torch.cat([part.flatten() for part in parts]).quantile(share)


def torn(values: Tensor, switched: Tensor) -> float:
    """Mean cosine of pairs with the same masks less that of pairs with switched ones."""
    return mean_where(values, ~switched) - mean_where(values, switched)


def more_torn(values: Tensor, switched: Tensor, plain: Tensor, plain_switched: Tensor) -> float:
    """By how much more a switch tears pairs of the first network than those of the second."""
    return torn(values, switched) - torn(plain, plain_switched)


def same_less_switched(near: Tensor, switched: Tensor, far: Tensor, differ: Tensor) -> float:
    """Mean cosine of negative pairs (far) with the same masks less that of positive pairs (near) with switched ones."""
    return mean_where(far, ~differ) - mean_where(near, switched)
