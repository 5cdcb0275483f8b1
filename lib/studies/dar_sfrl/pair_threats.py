"""Verification heads on frozen encoders in the three threat models (page 10, Table 2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import BoolTensor, LongTensor, Tensor, nn

from lib.attacks.embeddings import verification
from lib.data.sets import Pairs
from lib.evaluation.verification import best_threshold
from lib.studies.dar_sfrl.attacks import SEVEN, attack
from lib.studies.dar_sfrl.evaluation import PairHead, PairRecipe, features_of, fit_pair_head
from lib.studies.dar_sfrl.threats import outputs_of


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Two images (P, 3, H, W) in [0,1] of each pair, and whether they show one person (P,) bool."""

    first: Tensor
    second: Tensor
    same: BoolTensor


def split_pairs(pairs: Pairs, needed: LongTensor, images: Tensor, learn: int, test: int) -> dict[str, FacePairs]:
    """Pairs to "learn" on, to choose a threshold on ("held"), and to "test" on; half of each are genuine.

    "test" is of the last fold, "held" of the one before, at most as many, "learn" of all others. needed: the positions
    of the uint8 images (k, 3, H, W) in the set.
    """
    place = torch.full((int(needed.max()) + 1,), -1)
    place[needed] = torch.arange(len(needed))
    last = int(pairs.fold.max())
    parts = {
        "learn": (pairs.take(pairs.fold < last - 1), learn),
        "held": (pairs.take(pairs.fold == last - 1), test),
        "test": (pairs.take(pairs.fold == last), test),
    }
    found = {}
    for name, (part, most) in parts.items():
        fewest = 2 * min(int(part.same.sum()), int((~part.same).sum()))
        chosen = part.thin(min(most, fewest))
        sides = [images[place[side]].float() / 255 for side in (chosen.first, chosen.second)]
        found[name] = FacePairs(*sides, chosen.same)
    return found


def fitted_head(encoder: nn.Module, pairs: FacePairs, held: FacePairs, recipe: PairRecipe) -> dict[str, Tensor]:
    """The weights of a verification head of an encoder, and the "threshold" of most right answers on held-out pairs."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    first, second = (features_of(encoder, side, device) for side in (pairs.first, pairs.second))
    head = fit_pair_head(encoder, pairs.first.shape[2], first, second, pairs.same, recipe)
    with torch.no_grad():
        both = [head.layers(features_of(encoder, side, device)) for side in (held.first, held.second)]
    scores = F.cosine_similarity(*both)
    return head.layers.state_dict() | {"threshold": torch.tensor(best_threshold(scores, held.same))}


def head_from(encoder: nn.Module, side: int, fitted: dict[str, Tensor]) -> PairHead:
    """The verification head with fitted weights, frozen."""
    dim, inputs = fitted["2.weight"].shape
    head = PairHead(encoder, side, inputs, dim)
    head.layers.load_state_dict({name: value for name, value in fitted.items() if name != "threshold"})
    return head.eval().requires_grad_(False)


def attacked_pairs(head: PairHead, pairs: FacePairs, names: tuple[str, ...]) -> dict[str, Tensor]:
    """The first images (P, 3, H, W) after attacks on a head: genuine pairs pushed apart, impostors pulled together."""
    goal = verification(head, pairs.second, pairs.same)
    return {name: attack(goal, pairs.first, SEVEN[name]) for name in names}


def pair_answers(
    head: PairHead, threshold: float, pairs: FacePairs, names: tuple[str, ...], ready: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Which pairs are judged rightly: "clean" (P,), and "right" (attacks, P) after attacks on their first images.

    ready: images attacked beforehand on a surrogate (threat model "transfer"); without them the head itself is attacked
    ("end to end").
    """
    attacked = ready or attacked_pairs(head, pairs, names)
    moved = [pairs.first, *(attacked[name] for name in names)]
    anchor = F.normalize(outputs_of(head, pairs.second), dim=1)
    scores = [(F.normalize(outputs_of(head, images), dim=1) * anchor).sum(1) for images in moved]
    right = torch.stack([(score >= threshold) == pairs.same for score in scores])
    return {"clean": right[0], "right": right[1:]}
