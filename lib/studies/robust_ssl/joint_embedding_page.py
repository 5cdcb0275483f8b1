"""What page 15 measures beside collapse: accuracies of the families, what augmentations earn, costs, the circle."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lib.interval import Interval
from lib.studies.robust_ssl.circle import move
from lib.studies.robust_ssl.collapse_measures import CASES, FIRST_PARTS, over_draws
from lib.studies.robust_ssl.families import METHODS, Family
from lib.studies.robust_ssl.networks import SupervisedNetwork
from lib.studies.robust_ssl.study import SSLStudy
from lib.studies.robust_ssl.training import ViewsClassified
from lib.studies.robust_ssl.views import LEFT_OUT
from lib.training.labelled import Labelled


def least_gain(right: Mapping[str, Tensor], base: Tensor, **draws: int) -> Interval:
    """Accuracy in points of each method less that of `base`, the smallest; all (seeds, m) bool on the same images."""
    gaps = torch.stack([100 * (values.double() - base.double()) for values in right.values()])  # (methods, seeds, m)

    def effect(rows: Tensor, columns: Tensor) -> float:
        return gaps[:, rows][:, :, columns].mean((1, 2)).min().item()

    return drawn_with_repeats(effect, *base.shape, **draws)


def drawn_with_repeats(
    effect: Callable[[Tensor, Tensor], float], seeds: int, images: int, resamples: int = 500, seed: int = 0
) -> Interval:
    """effect(seeds, images) with its 95 % bootstrap interval; a mean, so that an image drawn twice counts twice."""
    draw = torch.Generator().manual_seed(seed)
    whole = effect(torch.arange(seeds), torch.arange(images))
    values = [
        effect(torch.randint(seeds, (seeds,), generator=draw), torch.randint(images, (images,), generator=draw))
        for _ in range(resamples)
    ]
    low, high = torch.tensor([*values, whole], dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double())
    return Interval(whole, min(low.item(), whole), max(high.item(), whole), n=images)


def rights(study: SSLStudy, method: str, task: str = "objects") -> dict[str, Tensor]:
    """Which test images a method's probe ("linear") and neighbours ("kNN") name rightly, each (seeds, m) bool."""
    found = [study.read_on((task,), method, seed)[task] for seed in study.scale.seeds]
    return {kind: torch.stack([part[kind] for part in found]) for kind in ("linear", "kNN")}


def most_frequent(data: Labelled) -> Tensor:
    """Which test images (m,) bool are right for who always answers the most frequent class of "learn"."""
    return data.labels["test"] == data.labels["learn"].mode().values


def domain_rights(study: SSLStudy, domain: str) -> dict[str, Tensor]:
    """Which test images are right, (seeds, m) bool, with "all" augmentations and without each: SimCLR on a domain."""
    found = {}
    for name in (None, *LEFT_OUT):
        rows = [study.read_left_out(name, seed, domain)["linear"] for seed in study.scale.seeds]
        found[name or "all"] = torch.stack(rows)
    return found


def shares_lost(
    right: Mapping[str, Tensor], names: Sequence[str] = tuple(LEFT_OUT), resamples: int = 500, seed: int = 0
) -> Tensor:
    """Share of the accuracy that is lost without an augmentation, mean over `names`: (1 + resamples,).

    right: (seeds, m) bool by name, with "all". The first value is that of all trainings and images, the others are of
    as many drawn with replacement.
    """
    draw = torch.Generator().manual_seed(seed)
    values = torch.stack([right[name].double() for name in ("all", *names)])  # (1 + names, seeds, m)
    _, seeds, m = values.shape
    means = [values.mean((1, 2))]
    for _ in range(resamples):
        rows, columns = (torch.randint(count, (count,), generator=draw) for count in (seeds, m))
        means.append(values[:, rows][:, :, columns].mean((1, 2)))
    whole, without = torch.stack(means).split([1, len(names)], dim=1)
    return (1 - without / whole.clamp_min(1e-9)).mean(1)


def earned(right: Mapping[str, Tensor], seed: int = 0) -> dict[str, Interval]:
    """Per cent of the accuracy that is lost without each augmentation, trainings and images drawn."""
    return {name: over_draws(100 * shares_lost(right, [name], seed=seed)) for name in LEFT_OUT}


def sensitivity(objects: Mapping[str, Tensor], faces: Mapping[str, Tensor], seed: int = 0) -> Interval:
    """Share of the accuracy that an augmentation earns, mean over all: on objects less on faces.

    Trainings and images are drawn in each domain by itself, since neither has to do with those of the other.
    """
    found = over_draws(shares_lost(objects, seed=seed) - shares_lost(faces, seed=seed + 1))
    return found.of(min(part["all"].shape[1] for part in (objects, faces)))


def step_costs(study: SSLStudy, rounds: int = 3) -> dict[str, tuple[int, float]]:
    """Views of each picture in a step, and milliseconds of its passes (median of rounds), by family and supervised."""
    images, labels = study.objects.images["learn"], study.objects.labels["learn"]
    found = {}
    for method in METHODS:
        model = study.plan_of(method).model().to(study.run.device).train()
        loss = study.plan_of(method).loss(images, model).to(study.run.device)
        found[method] = (loss.view_count, _milliseconds(loss, model, study.scale.batch, rounds))
    model = SupervisedNetwork(study.sizes, int(labels.max()) + 1).to(study.run.device).train()
    found["supervised"] = (2, _milliseconds(ViewsClassified(images, labels), model, study.scale.batch, rounds))
    return found


def _milliseconds(loss: Callable[..., dict[str, Tensor]], model: nn.Module, batch: int, rounds: int) -> float:
    draw, taken = torch.Generator().manual_seed(0), []
    for _ in range(rounds + 1):  # the first warms up
        began = time.perf_counter()
        loss(model, torch.arange(min(batch, len(loss.images))), draw)["loss"].backward()
        model.encoder.trunk.stem[0].weight.grad.sum().item()  # waits for a GPU
        taken.append(1000 * (time.perf_counter() - began))
    return torch.tensor(taken[1:]).median().item()


def against_lightly(study: SSLStudy, pictures: int = 16) -> dict[str, float]:
    """|ours / lightly's - 1| of one step's loss on the same views, for each family, at this scale.

    MoCo's and BYOL's have no class of their own there: the first is NT-Xent with our queue in lightly's memory bank,
    the second 2 plus twice the negative cosine similarity.
    """
    x = study.objects.images["learn"][:pictures].float() / 255
    first, second = x, x.flip(3)
    found = {}
    for method in METHODS:
        plan = study.plan_of(method)
        model = plan.model().train()
        loss = plan.loss(study.objects.images["learn"], model)
        with torch.no_grad():
            ours = loss.compare(model, first, second)["loss"].item()
            theirs = float(lightly_loss(method, model, loss, first, second))
        found[method] = abs(ours / theirs - 1)
    return found


def lightly_loss(method: str, model: nn.Module, loss: Family, first: Tensor, second: Tensor) -> Tensor:
    """The same loss by lightly's modules, from the same projections."""
    from lightly import loss as lightly  # only here: importing it takes seconds

    both = torch.cat([first, second])
    given = loss.given
    one, other = model(both).chunk(2)
    if method == "SimCLR":
        return lightly.NTXentLoss(given.simclr)(one, other)
    if method == "MoCo":
        bank = lightly.NTXentLoss(given.moco, memory_bank_size=loss.queue.rows.shape)
        bank.memory_bank.bank = loss.queue.rows.clone()
        keys = loss.slow(both).chunk(2)
        return (bank(one, keys[1]) + bank(other, keys[0])) / 2
    if method in ("SimSiam", "BYOL"):
        guesses = model.predictor(torch.cat([one, other])).chunk(2)
        targets = loss.slow(both).chunk(2) if method == "BYOL" else (one, other)
        cosine = lightly.NegativeCosineSimilarity()
        mean = (cosine(guesses[0], targets[1]) + cosine(guesses[1], targets[0])) / 2
        return 2 + 2 * mean if method == "BYOL" else mean
    if method == "SwAV":
        theirs = lightly.SwaVLoss(temperature=given.swav, sinkhorn_epsilon=given.codes)
        return theirs(list(model.cosines(both).chunk(2)), [])
    if method == "DINO":
        theirs = lightly.DINOLoss(len(model.prototypes), teacher_temp=given.sharp, student_temp=given.soft)
        teacher = list(loss.slow.model.cosines(both).chunk(2))
        return theirs(teacher, list(model.cosines(both).chunk(2)))
    return (lightly.BarlowTwinsLoss(given.barlow) if method == "Barlow Twins" else lightly.VICRegLoss())(one, other)


def circle_grid(steps: int, frames: int = 10, seed: int = 0) -> dict[str, Tensor]:
    """Angles (frames + 1, points) of every case of the circle by name, "<family> / <removed part or all parts>"."""
    found = {}
    for method, part in CASES:
        places = move(method, part, seed, steps, frames)["places"]
        found[f"{method} / {part or 'all parts'}"] = torch.atan2(places[..., 1], places[..., 0])
    return found


def circle_ends(steps: int, seeds: int = 3) -> dict[str, Tensor]:
    """The points (seeds, points, 2) at the end: every family with all parts and without its first."""
    cases = [case for method, part in FIRST_PARTS for case in ((method, None), (method, part))]
    return {
        f"{method} / {part or 'all parts'}": torch.stack(
            [move(method, part, seed, steps, frames=1)["places"][-1] for seed in range(seeds)]
        )
        for method, part in cases
    }
