"""PIN's face attacks (sections V-C and V-D): decision-based search, sticker, transfer, another domain.

What `run.kept` can keep: named functions with plain results. Systems are recognisers of gray images (n, 1, H, W) in
[0,1]; those that draw (PIN) do so inside `seeded`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from lib.attacks import (
    DFANET,
    Evolution,
    Linf,
    StickerTraining,
    evolutionary,
    in_batches,
    pair_decision,
    paste,
    train_sticker,
    verification,
)
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from lib.evaluation.intervals import bootstrap, constant_rate
from lib.evaluation.randomised_defences import scores_over_draws
from lib.interval import Interval
from lib.models import Recogniser, embed_all
from lib.progress import progress
from lib.seeds import seeded
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.evaluation import Contest, online_scores

THRESHOLD = 0.2  # the cosine above which PIN accepts a pair (section V-C)


# Tables VI and VII: the evolutionary attack -------------------------------------------------------------------------


def checkpoints(queries: int, wanted: Sequence[int] = (1000, 5000, 10_000)) -> tuple[int, ...]:
    """Query counts at which to report: the wanted ones and 1, 2, 5, 10, ... times ten, up to `queries`."""
    steps = {digit * 10**power for power in range(1, 7) for digit in (1, 2, 5)}
    return tuple(sorted(count for count in steps | {*wanted, queries} if count <= queries))


@dataclass(frozen=True)
class Search:
    """How the evolutionary attack asks: how often, when it reports, what counts.

    threshold: the cosine above which a pair is accepted. asks: fresh questions about the last image. patience:
    questions that an image must pass before the search goes there, each of which counts as a query. The source's
    attacker has 1 and believes a random system's single answer; more is the attack that knows it is random.
    """

    queries: int
    report: tuple[int, ...]
    threshold: float = THRESHOLD
    asks: int = 10
    patience: int = 1

    @property
    def evolution(self) -> Evolution:
        """The search in questions that count `patience` times."""
        return Evolution(self.queries // self.patience, tuple(at // self.patience for at in self.report))


def black_box(model: Recogniser, pairs: ImagePairs, search: Search, seed: int = 0) -> dict[str, Tensor]:
    """The evolutionary attack on a system that answers "accepted" or not, one bit per query (PIN, Tables VI, VII).

    pairs of one kind: genuine ones by dodging, impostors by impersonation, which starts from y. Pairs that are
    misjudged when clean, in any of three draws, are left out, as in PIN. Gives

    mse (P, R): distortion in [0,1] units at the query counts `report`; NaN where left out, inf before a success;
    again (P,): share of `asks` fresh questions in which the last image is still misjudged; NaN where there is none;
    images (P, 1, H, W): the last images.
    """
    same = bool(pairs.same[0])
    if not bool((pairs.same == same).all()):
        raise WorkbookError("The search dodges or impersonates, but pairs of both kinds came: pass one kind at a time.")
    correct = ((scores_over_draws(model, pairs.x, pairs.y, 3, seed) > search.threshold) == same).all(0)
    mse = torch.full((len(pairs), len(search.report)), torch.nan)
    again = torch.full((len(pairs),), torch.nan)
    images = pairs.x.clone()
    if correct.any():
        taken = pairs.rows(correct)
        goal = pair_decision(model, taken.y, same, search.threshold, search.patience)
        generator = torch.Generator().manual_seed(seed)
        with seeded(seed):
            start = None if same else taken.y
            evolved = evolutionary(goal, taken.x, start, search.evolution, generator=generator, progress=True)
        answers = scores_over_draws(model, evolved.images, taken.y, search.asks, seed + 1) > search.threshold
        mse[correct] = evolved.mse
        images[correct] = evolved.images.to(images)
        again[correct] = (answers != same).float().mean(0).where(evolved.found.cpu(), torch.tensor(torch.nan))
    return {"mse": mse, "again": again, "images": images}


def median_distortion(mse: Tensor) -> Tensor:
    """Median (R,) over the pairs (P, R) that take part; NaN while fewer than half have found anything."""
    taken = mse[~mse[:, -1].isnan()]
    if not len(taken):
        return mse[0]
    return taken.quantile(0.5, dim=0).where(taken.isfinite().float().mean(0) > 0.5, torch.nan)


def mean_of_finite(values: Tensor, seed: int = 0, top: float | None = None) -> Interval | None:
    """Mean of the finite ones of values (P,) with its interval over pairs; None for fewer than two.

    top: what 100 % is where the values are shares, as in `mean_interval`.
    """
    finite = values[values.isfinite()]
    if len(finite) < 2:
        return None
    interval = bootstrap(torch.mean, finite, seed=seed)
    return interval if top is None else constant_rate(interval, finite, top, len(finite))


def geometric_ratio(first: Tensor, second: Tensor, seed: int = 0) -> Interval | None:
    """Geometric mean of first / second (P,) over the pairs that have both; None for fewer than two.

    A mean that no single pair dominates.
    """
    both = first.isfinite() & second.isfinite()
    logs = (first[both] / second[both].clamp_min(1e-12)).clamp_min(1e-12).log()
    return bootstrap(_exp_mean, logs, seed=seed) if len(logs) > 1 else None


def _exp_mean(logs: Tensor) -> Tensor:
    return logs.mean().exp()


# Table VIII: the sticker --------------------------------------------------------------------------------------------


def one_each(labels: Tensor, most: int) -> LongTensor:
    """Positions of the first image of up to `most` people, evenly spaced over them; labels (n,)."""
    people = labels.unique()
    chosen = people[torch.arange(min(most, len(people))) * len(people) // min(most, len(people))]
    return torch.stack([(labels == person).nonzero()[0, 0] for person in chosen])


def sticker_for(model: Recogniser, faces: Tensor, target: Tensor, steps: int, batch: int = 20, seed: int = 0) -> Tensor:
    """One sticker (1, 1, 20, 72) that makes the system take everybody for the `target` (1, 1, H, W).

    faces (n, 1, H, W) in [0,1]. Through a defence this is the online attack; a random one is met in expectation.
    """
    with seeded(seed):
        training = StickerTraining(steps, batch)
        return train_sticker(model, faces, embed_all(model, target)[0], training, seed=seed, progress=True)


def sticker_scores(model: Recogniser, faces: Tensor, target: Tensor, sticker: Tensor | None, seed: int = 0) -> Tensor:
    """Cosines (n,) of faces (n, 1, H, W) that wear the sticker to the target (1, 1, H, W); None: without a sticker."""
    with seeded(seed):
        worn = faces if sticker is None else paste(faces, sticker)
        return (embed_all(model, worn) @ embed_all(model, target)[0]).cpu()


# Table IX: transfer -------------------------------------------------------------------------------------------------


def transfer_images(
    surrogate: Recogniser, pairs: ImagePairs, eps: str = "8/255", steps: int = 10, seed: int = 0
) -> Tensor:
    """Adversarial first images (P, 1, H, W) as DFANet makes them (Zhong and Deng 2020): momentum and dropout.

    surrogate: with dropout layers, as of `lib.attacks.dropout`; they are active in each gradient. Genuine pairs are
    pushed apart, impostor pairs drawn together, as in the pairs of TALFW.
    """
    goal = verification(surrogate, pairs.y, pairs.same)
    settings = DFANET.but(steps=steps, step=f"2*eps/{steps}")
    with seeded(seed):
        return in_batches(goal, pairs.x, Linf(eps), settings)


# Table X: another domain --------------------------------------------------------------------------------------------


def cross_domain_scores(
    contest: Contest, bare: Recogniser, guarded: Recogniser, attacks: Sequence[str] = ("FGSM", "PGD-L2")
) -> Mapping[tuple[str, str], Tensor]:
    """Scores (draws, P) of "none", "PIN offline" and "PIN online" under "clean" and each attack, by (system, attack).

    contest: pairs of another domain; `guarded` has its draws of "PIN". Every attack is a kept result of its own.
    """
    kept = contest.run.kept
    pairs = contest.pairs
    seed = contest.seed
    draws = contest.draws.get("PIN", 1)
    scores = {("none", "clean"): kept(scores_over_draws, bare, pairs.x, pairs.y, 1, seed)}
    clean = kept(scores_over_draws, guarded, pairs.x, pairs.y, draws, seed)
    scores |= {("PIN offline", "clean"): clean, ("PIN online", "clean"): clean}
    for attack in progress(attacks, "attacking pairs of another domain"):
        images = kept(attack_pairs, attack, bare, pairs, seed=seed)
        scores["none", attack] = kept(scores_over_draws, bare, images, pairs.y, 1, seed)
        scores["PIN offline", attack] = kept(scores_over_draws, guarded, images, pairs.y, draws, seed)
    through = kept(online_scores, list(attacks), guarded, pairs, draws=draws, seed=seed)
    return scores | {("PIN online", attack): through[attack] for attack in attacks}
