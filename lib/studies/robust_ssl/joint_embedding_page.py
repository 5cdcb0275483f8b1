"""What page 15 measures: collapse with and without each part, accuracies of the families, what augmentations earn."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.evaluation.collapse import relative_spread
from lib.evaluation.representations import effective_rank
from lib.interval import Interval
from lib.studies.robust_ssl.circle import move
from lib.studies.robust_ssl.families import METHODS, REMOVALS, Family, family
from lib.studies.robust_ssl.study import SSLStudy
from lib.studies.robust_ssl.training import Plan
from lib.studies.robust_ssl.views import LEFT_OUT
from lib.training.batches import pixels_of
from lib.training.loop import Trained

MEASURED = 300  # held-out pictures that collapse is measured on
Outputs = dict[tuple[str, str | None], Tensor]  # (method, removed part) -> what the loss compares, (seeds, m, d)


def spread_of(outputs: Tensor) -> float:
    """Mean standard deviation of unit outputs (m, d) over that of an even sphere: 1 healthy, 0 collapsed."""
    return relative_spread(nn.functional.normalize(outputs.double(), dim=1))


def rank_share(outputs: Tensor) -> float:
    """Effective rank of unit outputs (m, d) over d."""
    return effective_rank(nn.functional.normalize(outputs.double(), dim=1)) / outputs.shape[1]


@torch.no_grad()
def compared_by(trained: Trained, plan: Plan, images: Tensor) -> Tensor:
    """What the trained network's loss compares (m, d) on images (m, 3, S, S) uint8, in eval mode."""
    model = plan.model()
    model.load_state_dict(trained["network"])
    model.eval()
    return family(plan.method).compared(model, pixels_of(images, torch.arange(len(images)), model)).float().cpu()


def collapse_outputs(study: SSLStudy, method: str, part: str | None) -> Tensor:
    """What the loss compares on held-out objects after each seed's short training, (seeds, m, d)."""
    images = study.objects.images["held"][:MEASURED]
    plan = study.plan_of(method, without=part)
    return torch.stack([compared_by(study.short(method, seed, part), plan, images) for seed in study.scale.seeds])


def drawn_interval(
    effect: Callable[[Tensor, Tensor], float], seeds: int, images: int, resamples: int = 200, seed: int = 0
) -> Interval:
    """effect(seeds, images) on all and its 95 % interval where both are drawn anew (indices (seeds,) and (images,))."""
    draw = torch.Generator().manual_seed(seed)
    whole = effect(torch.arange(seeds), torch.arange(images))
    values = []
    for _ in range(resamples):
        rows = torch.randint(seeds, (seeds,), generator=draw)
        columns = torch.randint(images, (images,), generator=draw).unique()  # a picture twice is no further direction
        values.append(effect(rows, columns))
    low, high = torch.tensor([*values, whole], dtype=torch.float64).quantile(torch.tensor([0.025, 0.975]).double())
    return Interval(whole, min(low.item(), whole), max(high.item(), whole), n=images)


def healthier(
    outputs: Outputs, measure: Callable[[Tensor], float], pairs: list[tuple[str, str]] | None = None, **draws: int
) -> Interval:
    """A measure of collapse with a part less without it, the smallest over the families (or over `pairs`).

    pairs: (method, part); None: each family's first part, the one its paper names for the purpose.
    """
    pairs = pairs or [(method, family(method).parts[0]) for method in METHODS]

    def effect(rows: Tensor, columns: Tensor) -> float:
        return min(
            mean_of(outputs[method, None], measure, rows, columns)
            - mean_of(outputs[method, part], measure, rows, columns)
            for method, part in pairs
        )

    return drawn_interval(effect, *next(iter(outputs.values())).shape[:2], **draws)


def mean_of(outputs: Tensor, measure: Callable[[Tensor], float], rows: Tensor, columns: Tensor) -> float:
    """The mean measure of outputs (seeds, m, d) over the chosen seeds, on the chosen pictures."""
    return sum(measure(outputs[row][columns]) for row in rows.tolist()) / len(rows)


def missed_by_spread(outputs: Outputs, **draws: int) -> Interval:
    """Share of the spread lost less share of the rank lost without decorrelation, larger of the two families'.

    Below 0 the standard deviation sees less of the collapse than the rank does.
    """
    pairs = [("Barlow Twins", "decorrelation"), ("VICReg", "covariance")]

    def lost(pair: tuple[str, str], measure: Callable[[Tensor], float], rows: Tensor, columns: Tensor) -> float:
        method, part = pair
        whole = mean_of(outputs[method, None], measure, rows, columns)
        return 1 - mean_of(outputs[method, part], measure, rows, columns) / max(whole, 1e-9)

    def effect(rows: Tensor, columns: Tensor) -> float:
        gaps = [lost(p, spread_of, rows, columns) - lost(p, rank_share, rows, columns) for p in pairs]
        return max(gaps)

    return drawn_interval(effect, *next(iter(outputs.values())).shape[:2], **draws)


def kept_without(outputs: Outputs, method: str, part: str, **draws: int) -> Interval:
    """The spread without a part over that with it."""

    def effect(rows: Tensor, columns: Tensor) -> float:
        whole = mean_of(outputs[method, None], spread_of, rows, columns)
        return mean_of(outputs[method, part], spread_of, rows, columns) / max(whole, 1e-9)

    return drawn_interval(effect, *outputs[method, None].shape[:2], **draws)


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
    found = [study.fitted(study.encoder(method, seed), task) for seed in study.scale.seeds]
    return {kind: torch.stack([part[kind] for part in found]) for kind in ("linear", "kNN")}


def domain_rights(study: SSLStudy, domain: str, task: str) -> dict[str, Tensor]:
    """Which test images are right, (seeds, m) bool, with "all" augmentations and without each: SimCLR on a domain."""
    found = {}
    for name in (None, *LEFT_OUT):
        trained = [study.left_out(name, seed, domain) for seed in study.scale.seeds]
        rows = [study.fitted(study.encoder_from(part), task)["linear"] for part in trained]
        found[name or "all"] = torch.stack(rows)
    return found


def earned(right: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Points (seeds, m) that each augmentation earns: right with all less right without it."""
    return {name: 100 * (right["all"].double() - right[name].double()) for name in LEFT_OUT}


def sensitivity(objects: Mapping[str, Tensor], faces: Mapping[str, Tensor], **draws: int) -> Interval:
    """Points that an augmentation earns, mean over all: on objects less on faces, seeds and images drawn."""
    one, other = (torch.stack([*earned(part).values()]).mean(0) for part in (objects, faces))
    if one.shape[0] != other.shape[0]:
        raise WorkbookError(f"Both domains need as many seeds, not {one.shape[0]} and {other.shape[0]}.")
    many = max(one.shape[1], other.shape[1])

    def effect(rows: Tensor, columns: Tensor) -> float:
        means = [part[rows][:, columns % part.shape[1]].mean().item() for part in (one, other)]
        return means[0] - means[1]

    found = drawn_with_repeats(effect, one.shape[0], many, **draws)
    whole = one.mean().item() - other.mean().item()
    return Interval(whole, min(found.low, whole), max(found.high, whole), n=many)


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
        return lightly.SwaVLoss(temperature=given.swav)(list(model.cosines(both).chunk(2)), [])
    if method == "DINO":
        theirs = lightly.DINOLoss(len(model.prototypes), teacher_temp=given.sharp, student_temp=given.soft)
        teacher = list(loss.slow.model.cosines(both).chunk(2))
        return theirs(teacher, list(model.cosines(both).chunk(2)))
    return (lightly.BarlowTwinsLoss(given.barlow) if method == "Barlow Twins" else lightly.VICRegLoss())(one, other)


def case_table(outputs: Outputs) -> list[dict[str, object]]:
    """Spread and share of rank of each case, as the seeds' mean, least and most: rows for a figure and a table."""
    rows = []
    for (method, part), values in outputs.items():
        row: dict[str, object] = {"family": method, "without": part or "-"}
        for name, measure in (("spread", spread_of), ("rank / d", rank_share)):
            each = [measure(one) for one in values]
            row |= {name: sum(each) / len(each), f"{name}, least": min(each), f"{name}, most": max(each)}
        rows.append(row)
    return rows


def circle_grid(steps: int, frames: int = 10, seed: int = 0) -> dict[str, Tensor]:
    """Angles (frames + 1, points) of every case of the circle by name, "<family> / <removed part or all parts>"."""
    found = {}
    for method, part in (*((name, None) for name in METHODS), *REMOVALS):
        places = move(method, part, seed, steps, frames)["places"]
        found[f"{method} / {part or 'all parts'}"] = torch.atan2(places[..., 1], places[..., 0])
    return found
