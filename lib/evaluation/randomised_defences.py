"""Judging defended recognisers, random ones included: attack, score over draws, one error rate over them all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lib.data.examples import ImagePairs
from lib.evaluation.intervals import pair_bootstrap, pair_difference
from lib.evaluation.verification import best_threshold, eer, worst_scores
from lib.interval import Interval
from lib.models import Recogniser, similarity
from lib.seeds import seeded


def scores_over_draws(model: Recogniser, x: Tensor, y: Tensor, draws: int = 1, seed: int = 0) -> Tensor:
    """Cosines (draws, P) of pairs of images (P, C, H, W): one row a draw of a random model; draws=1 for a fixed one."""
    with seeded(seed):
        return torch.stack([similarity(model, x, y) for _ in range(draws)])


def judged(
    models: Mapping[str, Recogniser], draws: Mapping[str, int], x: Tensor, y: Tensor, seed: int = 0
) -> dict[str, Tensor]:
    """`scores_over_draws` of every model; `draws` names those that need more than one."""
    return {name: scores_over_draws(model, x, y, draws.get(name, 1), seed) for name, model in models.items()}


def threshold_of(model: Recogniser, held_out: ImagePairs, seed: int = 0) -> float:
    """The cosine that best parts held-out pairs: where DeepFool's decision lies."""
    with seeded(seed):
        return best_threshold(similarity(model, held_out.x, held_out.y), held_out.same)


@dataclass(frozen=True, eq=False)
class Trials:
    """Verification pairs as the judge sees them: same (P,), people (P, 2). Rates are in per cent.

    Scores come as (draws, P); all draws are pooled under one threshold, and intervals draw people, so that the draws
    and pairs of one person stay together.
    """

    same: Tensor
    people: Tensor
    seed: int = 0

    def rows(self, rows: Tensor) -> "Trials":
        """The pairs at `rows` (positions, or a mask of all)."""
        return Trials(self.same[rows], self.people[rows], self.seed)

    def pooled(self, scores: Tensor, draws: int) -> Tensor:
        """Scores (draws * P,), those of a fixed model repeated."""
        return scores.expand(draws, -1).flatten() if len(scores) == 1 else scores.flatten()

    def rate(self, scores: Tensor, statistic: Callable = eer) -> Interval:
        """The equal error rate (or another statistic) of scores (draws, P), with its 95 % interval, in per cent."""
        draws = len(scores)
        same = self.same.repeat(draws)
        people = self.people.repeat(draws, 1)
        return pair_bootstrap(scores.flatten(), same, people, statistic, seed=self.seed).scaled(100)

    def gap(self, first: Tensor, second: Tensor, statistic: Callable = eer) -> Interval:
        """Rate of `first` less that of `second`, in percentage points, people drawn alike for both."""
        draws = max(len(first), len(second))
        pooled = (self.pooled(first, draws), self.pooled(second, draws))
        same = self.same.repeat(draws)
        people = self.people.repeat(draws, 1)
        return pair_difference(*pooled, same, people, statistic, seed=self.seed).scaled(100)

    def worst(self, *scores: Tensor) -> Tensor:
        """The worst score (1, P) that each pair met over several attacks, each attack's mean over its draws taken."""
        return worst_scores(self.same, *[part.mean(0) for part in scores])[None]
