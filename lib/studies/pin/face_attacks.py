"""PIN's face attacks (sections V-C and V-D): decision-based search, sticker, transfer, another domain.

What `run.kept` can keep: named functions with plain results. Systems are recognisers of gray images (n, 1, H, W) in
[0,1]; those that draw (PIN) do so inside `seeded`.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import LongTensor, Tensor

from lib.attacks import DFANET, Linf, evolutionary, in_batches, pair_decision, paste, train_sticker, verification
from lib.evaluation.intervals import bootstrap
from lib.evaluation.randomised_defences import scores_over_draws
from lib.interval import Interval
from lib.models import Recogniser, embed_all
from lib.progress import progress
from lib.seeds import seeded
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.evaluation import online_scores

THRESHOLD = 0.2  # the cosine above which PIN accepts a pair (section V-C)


# Tables VI and VII: the evolutionary attack -------------------------------------------------------------------------


def checkpoints(queries: int, wanted: Sequence[int] = (1000, 5000, 10_000)) -> tuple[int, ...]:
    """Query counts at which to report: the wanted ones and 1, 2, 5, 10, ... times ten, up to `queries`."""
    steps = {digit * 10**power for power in range(1, 7) for digit in (1, 2, 5)}
    return tuple(sorted(count for count in steps | {*wanted, queries} if count <= queries))


def black_box(
    model: Recogniser,
    x: Tensor,
    y: Tensor,
    same: bool,
    queries: int,
    report: Sequence[int],
    threshold: float = THRESHOLD,
    asks: int = 10,
    seed: int = 0,
    patience: int = 1,
) -> dict[str, Tensor]:
    """The evolutionary attack on a system that answers "accepted" or not, one bit per query (PIN, Tables VI, VII).

    x, y (P, 1, H, W): pairs of one kind, the first images attacked: `same` pairs by dodging, others by impersonation,
    which starts from y. Pairs that are misjudged when clean, in any of three draws, are left out, as in PIN. Gives

    mse (P, R): distortion in [0,1] units at the query counts `report`; NaN where left out, inf before a success;
    again (P,): share of `asks` fresh questions in which the last image is still misjudged; NaN where there is none;
    images (P, 1, H, W): the last images.

    patience: questions that an image must pass before the search goes there, each of which counts as a query. The
    source's attacker has 1 and believes a random system's single answer; more is the attack that knows it is random.
    """
    right = ((scores_over_draws(model, x, y, 3, seed) > threshold) == same).all(0)
    mse = torch.full((len(x), len(report)), torch.nan)
    again = torch.full((len(x),), torch.nan)
    images = x.clone()
    if right.any():
        goal = pair_decision(model, y[right], same, threshold, patience)
        generator = torch.Generator().manual_seed(seed)
        steps = queries // patience
        stops = [at // patience for at in report]
        with seeded(seed):
            start = None if same else y[right]
            found = evolutionary(goal, x[right], start, steps, report=stops, generator=generator, progress=True)
        wrong = (scores_over_draws(model, found.images, y[right], asks, seed + 1) > threshold) != same
        mse[right] = found.mse
        images[right] = found.images.to(images)
        again[right] = wrong.float().mean(0).where(found.found.cpu(), torch.tensor(torch.nan))
    return {"mse": mse, "again": again, "images": images}


def mean_of(values: Tensor, seed: int = 0) -> Interval | None:
    """Mean of the finite ones of values (P,) with its interval over pairs; None for fewer than two."""
    finite = values[values.isfinite()]
    return bootstrap(torch.mean, finite, seed=seed) if len(finite) > 1 else None


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
        return train_sticker(model, faces, embed_all(model, target)[0], steps, batch=batch, seed=seed, progress=True)


def sticker_scores(model: Recogniser, faces: Tensor, target: Tensor, sticker: Tensor | None, seed: int = 0) -> Tensor:
    """Cosines (n,) of faces (n, 1, H, W) that wear the sticker to the target (1, 1, H, W); None: without a sticker."""
    with seeded(seed):
        worn = faces if sticker is None else paste(faces, sticker)
        return (embed_all(model, worn) @ embed_all(model, target)[0]).cpu()


# Table IX: transfer -------------------------------------------------------------------------------------------------


def transfer_images(
    surrogate: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    eps: str = "8/255",
    steps: int = 10,
    seed: int = 0,
) -> Tensor:
    """Adversarial first images (P, 1, H, W) as DFANet makes them (Zhong and Deng 2020): momentum and dropout.

    surrogate: with dropout layers, as of `lib.attacks.dropout`; they are active in each gradient. x, y (P, 1, H, W);
    same (P,): genuine pairs are pushed apart, impostor pairs drawn together, as in the pairs of TALFW.
    """
    goal = verification(surrogate, y, same)
    settings = DFANET.but(steps=steps, step=f"2*eps/{steps}")
    with seeded(seed):
        return in_batches(goal, x, Linf(eps), settings, progress=True)


# Table X: another domain --------------------------------------------------------------------------------------------


def crossed(
    kept: Callable,
    bare: Recogniser,
    guarded: Recogniser,
    x: Tensor,
    y: Tensor,
    same: Tensor,
    attacks: Sequence[str] = ("FGSM", "PGD-L2"),
    draws: int = 1,
    seed: int = 0,
) -> Mapping[tuple[str, str], Tensor]:
    """Scores (draws, P) of "none", "PIN offline" and "PIN online" under "clean" and each attack, by (system, attack).

    kept: `run.kept`; every attack is a result of its own.
    """
    scores = {("none", "clean"): kept(scores_over_draws, bare, x, y, 1, seed)}
    scores["PIN offline", "clean"] = scores["PIN online", "clean"] = kept(scores_over_draws, guarded, x, y, draws, seed)
    for attack in progress(attacks, "attacking pairs of another domain"):
        images = kept(attack_pairs, attack, bare, x, y, same, seed=seed)
        scores["none", attack] = kept(scores_over_draws, bare, images, y, 1, seed)
        scores["PIN offline", attack] = kept(scores_over_draws, guarded, images, y, draws, seed)
    through = kept(online_scores, list(attacks), guarded, x, y, same, draws=draws, seed=seed)
    return scores | {("PIN online", attack): through[attack] for attack in attacks}
