"""Verification heads on frozen encoders in the three threat models (page 10, Table 2)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import BoolTensor, LongTensor, Tensor, nn

from lib.attacks.embeddings import verification
from lib.attacks.objectives import Objective
from lib.data.sets import Pairs
from lib.evaluation.verification import best_threshold
from lib.studies.dar_sfrl.attacks import (
    SEVEN,
    attack,
    objective_for,
)
from lib.studies.dar_sfrl.evaluation import PairHead, PairRecipe, features_of, fit_pair_head
from lib.studies.dar_sfrl.threats import outputs_of


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Two images (P, 3, H, W) in [0,1] of each pair, and whether they show one person (P,) bool."""

    first: Tensor
    second: Tensor
    same: BoolTensor


def split_pairs(pairs: Pairs, needed: LongTensor, images: Tensor, learn: int, test: int) -> dict[str, FacePairs]:
    """Pairs to "learn" on, from all folds but the last, and to "test" on, from the last; half of each are genuine.

    needed: the positions of the uint8 images (k, 3, H, W) in the set.
    """
    place = torch.full((int(needed.max()) + 1,), -1)
    place[needed] = torch.arange(len(needed))
    last = int(pairs.fold.max())
    parts = {"learn": (pairs.take(pairs.fold != last), learn), "test": (pairs.take(pairs.fold == last), test)}
    found = {}
    for name, (part, most) in parts.items():
        fewest = 2 * min(int(part.same.sum()), int((~part.same).sum()))
        chosen = part.thin(min(most, fewest))
        sides = [images[place[side]].float() / 255 for side in (chosen.first, chosen.second)]
        found[name] = FacePairs(*sides, chosen.same)
    return found


def fitted_head(encoder: nn.Module, pairs: FacePairs, recipe: PairRecipe) -> dict[str, Tensor]:
    """The weights of a verification head of an encoder, and the "threshold" of most right answers on its own pairs."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    first, second = (features_of(encoder, side, device) for side in (pairs.first, pairs.second))
    head = fit_pair_head(encoder, pairs.first.shape[2], first, second, pairs.same, recipe)
    with torch.no_grad():
        scores = F.cosine_similarity(head.layers(first), head.layers(second))
    return head.layers.state_dict() | {"threshold": torch.tensor(best_threshold(scores, pairs.same))}


def head_from(encoder: nn.Module, side: int, fitted: dict[str, Tensor]) -> PairHead:
    """The verification head with fitted weights, frozen."""
    dim, inputs = fitted["2.weight"].shape
    head = PairHead(encoder, side, inputs, dim)
    head.layers.load_state_dict({name: value for name, value in fitted.items() if name != "threshold"})
    return head.eval().requires_grad_(False)


def pair_goal(threat: str, head: PairHead, pairs: FacePairs, surrogate: PairHead) -> Objective:
    """What an attack on the first image of each pair raises: see `objective_for`, with "same" as the label."""
    if threat == "released":
        return objective_for("released", head, pairs.same.long())
    return verification(surrogate if threat == "transfer" else head, pairs.second, pairs.same)


def pair_answers(
    head: PairHead,
    threshold: float,
    threat: str,
    pairs: FacePairs,
    names: tuple[str, ...],
    surrogate: PairHead,
) -> dict[str, Tensor]:
    """Which pairs are judged rightly: "clean" (P,), and "right" (attacks, P) after attacks on their first images."""
    goal = pair_goal(threat, head, pairs, surrogate)
    moved = [pairs.first, *(attack(goal, pairs.first, SEVEN[name]) for name in names)]
    anchor = F.normalize(outputs_of(head, pairs.second), dim=1)
    scores = [(F.normalize(outputs_of(head, images), dim=1) * anchor).sum(1) for images in moved]
    right = torch.stack([(score >= threshold) == pairs.same for score in scores])
    return {"clean": right[0], "right": right[1:]}
