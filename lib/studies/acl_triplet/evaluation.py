"""Triplet accuracy, clean and under attack (ACL-triplet, Figures 4 and 5): the source's tests and a fair one.

All give the two distances (t, 2) of each triplet on the CPU; `ordered` says where a triplet is right, one answer each,
so that a caller can draw people for an interval. Anchors, positives and negatives are images (t, C, H, W) in [0,1];
positives and negatives may also be embeddings (t, d). A model with two batch normalisations is judged through the one
route in which the caller stands (`with route(model, "adversarial")`), as nobody knows which pictures were attacked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks import PGD, Linf, Settings, embedder, feature_distance, in_batches, triplet
from lib.attacks.embeddings import DISTANCES
from lib.attacks.objectives import reference_embeddings
from lib.errors import WorkbookError, choices
from lib.evaluation.representations import attacked
from lib.models import similarity
from lib.models.dual_norm import route
from lib.studies.acl_triplet.finetuning import draw_triplets

PAPER = PGD.but(steps=7)  # of 2/255 from a random start, with eps 8/255 (section 4.2)
Rates = dict[str, Tensor]


def ordered(distances: Tensor, margin: float = 0.0) -> Tensor:
    """Whether D(a, p) + margin < D(a, n), of both distances (..., t, 2): BoolTensor (..., t).

    The source does not say whether it asks for a margin; its accuracies below 50 % (Figure 5) suggest one.
    """
    return distances[..., 0] + margin < distances[..., 1]


def triplet_distances(model: nn.Module, a: Tensor, p: Tensor, n: Tensor, distance: str = "l2") -> Tensor:
    """D(a, p) and D(a, n) of unit embeddings: (t, 2). Which `distance` it is matters with a margin alone."""
    if not len(a) == len(p) == len(n) > 0:
        raise WorkbookError(
            f"Triplets need as many anchors as positives and negatives, but {len(a)}, {len(p)} and {len(n)} came."
        )
    if distance not in DISTANCES:
        raise WorkbookError(f"A distance is one of {choices(list(DISTANCES))}, not '{distance}': choose one of them.")
    a, p, n = (reference_embeddings(model, images).float() for images in (a, p, n))
    apart = DISTANCES[distance]
    return torch.stack([apart(a, p), apart(a, n)], 1).cpu()


def paper_distances(
    model: nn.Module,
    x: Tensor,
    n: Tensor,
    attacked: str = "positive",
    *,
    eps: str = "8/255",
    settings: Settings = PAPER,
    distance: str = "l2",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Distances (t, 2) of the source's robust accuracy (section 5).

    Its positive is an attacked copy of the anchor's own picture; which of the two copies is attacked it leaves open.
    "positive": the triplet (x, x + delta, n), where delta drives D(x, x + delta) up, as "designed to be as distanced
    from the anchor as possible" says; the default. "anchor": the triplet (x + delta, x, n), where delta drives
    D(x + delta, x) - D(x + delta, n) up, which is Algorithm 2 with p = x and at least as strong a test. For delta of
    Algorithm 2 with another picture as p, attack with `triplet` and ask `triplet_distances(model, x, attacked, n)`.
    """
    if attacked not in ("positive", "anchor"):
        raise WorkbookError(f"The source attacks the positive or the anchor, not '{attacked}': choose one of these.")
    known = reference_embeddings(model, x)
    others = reference_embeddings(model, n)
    if attacked == "anchor":
        goal = triplet(model, known, others, distance=distance)
    else:
        goal = feature_distance(model, known, distance, forward=embedder(model))
    moved = reference_embeddings(model, in_batches(goal, x, Linf(eps), settings, generator=generator))
    pair = (known, moved) if attacked == "positive" else (moved, known)
    return triplet_distances(model, *pair, others, distance)


def fair_distances(
    model: nn.Module,
    a: Tensor,
    p: Tensor,
    n: Tensor,
    steps: int = 20,
    restarts: int = 5,
    *,
    eps: str = "8/255",
    step: str = "2/255",
    margin: float = 0.0,
    hinge: float | None = None,
    distances: Sequence[str] = ("l2", "squared"),
    generator: torch.Generator | None = None,
) -> Tensor:
    """Ours, RA*: distances (t, 2) at the worst x found near each anchor, where D(x, p) - D(x, n) is largest.

    The anchors of the clean test's own triplets are attacked with D(x, p) - D(x, n), not hinged; each of `restarts`
    climbs from a random start takes the next of `distances` (same order, other gradients), keeps the worst image on
    its way, and goes on with the triplets that still stand at `margin`: the worst case over all, valid at that margin
    and every larger one. hinge: the margin of a hinged objective, to see what the hinge costs an attacker.
    """
    p = reference_embeddings(model, p)
    n = reference_embeddings(model, n)
    worst = triplet_distances(model, a, p, n, distances[0])
    settings = PGD.but(steps=steps, step=step, keep="best")
    for turn in range(restarts):
        left = ordered(worst, margin).nonzero().flatten()
        if len(left) == 0:
            break
        x = a[left.to(a.device)]
        positive = p[left.to(p.device)]
        negative = n[left.to(n.device)]
        goal = triplet(model, positive, negative, hinge, distances[turn % len(distances)])
        moved = in_batches(goal, x, Linf(eps), settings, generator=generator)
        found = triplet_distances(model, moved, positive, negative, distances[0])
        worse = found[:, 0] - found[:, 1] > worst[left, 0] - worst[left, 1]
        worst[left] = torch.where(worse[:, None], found, worst[left])
    return worst


def rounds_of(images: Tensor, labels: LongTensor, rounds: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Anchors, positives, negatives (rounds * k, C, H, W) in [0,1]: in each round one triplet of each of k people.

    images (m, C, H, W) uint8 of people labels (m,), all with two pictures or more; people in the order of their labels.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = [
        torch.cat(part) for part in zip(*[draw_triplets(labels, None, generator) for _ in range(rounds)], strict=True)
    ]
    return tuple(images[index].float() / 255 for index in rows)


def person_means(right: Tensor, people: int) -> Tensor:
    """Share (people,) of right answers (seeds, rounds * people) of each person, over all rounds and seeds.

    As everybody has as many answers, drawing people with all of theirs is drawing among these means.
    """
    return right.double().unflatten(1, (-1, people)).mean((0, 1))


def judge_triplets(
    model: nn.Module, way: str, a: Tensor, p: Tensor, n: Tensor, steps: int = 20, restarts: int = 5, seed: int = 0
) -> Rates:
    """Distances (t, 2) of each triplet under each test, through the route `way`.

    "SA": clean; "RA": the source's test, the positive attacked; "RA, anchor": its other reading; "RA*": the fair one.
    """
    generator = torch.Generator().manual_seed(seed)
    with route(model, way):
        p = reference_embeddings(model, p)
        n = reference_embeddings(model, n)
        return {
            "SA": triplet_distances(model, a, p, n),
            "RA": paper_distances(model, a, n, generator=generator),
            "RA, anchor": paper_distances(model, a, n, "anchor", generator=generator),
            "RA*": fair_distances(model, a, p, n, steps, restarts, generator=generator),
        }


def ordered_by_budget(
    model: nn.Module,
    way: str,
    a: Tensor,
    p: Tensor,
    n: Tensor,
    budgets: Sequence[tuple[str, int]],
    hinge: float | None = None,
    seed: int = 0,
) -> Tensor:
    """RA* of one climb for each (eps, steps) of `budgets`, in steps of eps/4: BoolTensor (b, t)."""
    found = []
    with route(model, way):
        p = reference_embeddings(model, p)
        n = reference_embeddings(model, n)
        for eps, steps in budgets:
            draw = torch.Generator().manual_seed(seed)
            worst = fair_distances(model, a, p, n, steps, 1, eps=eps, step="eps/4", hinge=hinge, generator=draw)
            found.append(ordered(worst))
    return torch.stack(found)


def routed_pair_scores(model: nn.Module, way: str, x: Tensor, y: Tensor, same: Tensor, steps: int = 20) -> Tensor:
    """Cosines (2, P) of pairs of images (P, C, H, W) through the route `way`: clean, and with x attacked."""
    with route(model, way):
        moved = attacked(model, x, y, same, steps=steps)
        return torch.stack([similarity(model, part, y) for part in (x, moved)])


@dataclass(frozen=True, eq=False)
class TripletWatch:
    """For `fit`: SA, RA and RA* of the triplets (a, p, n) of people held out, under a small attack, through `way`.

    The weights of the highest mean of SA and RA* stay; with robust=False those of the highest SA.
    """

    a: Tensor
    p: Tensor
    n: Tensor
    way: str = "adversarial"
    steps: int = 10
    robust: bool = True

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """The three rates, and "held_out", lower for better."""
        draw = torch.Generator().manual_seed(0)
        with route(model, self.way):
            p = reference_embeddings(model, self.p)
            n = reference_embeddings(model, self.n)
            found = {
                "SA": triplet_distances(model, self.a, p, n),
                "RA": paper_distances(model, self.a, n, generator=draw),
                "RA*": fair_distances(model, self.a, p, n, self.steps, 1, generator=draw),
            }
        rates = {name: ordered(part).double().mean().item() for name, part in found.items()}
        score = (rates["SA"] + rates["RA*"]) / 2 if self.robust else rates["SA"]
        return rates | {"held_out": 1 - score}
