"""What page 15 measures of collapse: spread and rank of unit projections with all parts and without one."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.evaluation.collapse import relative_spread, uncentred_rank
from lib.interval import Interval
from lib.studies.robust_ssl.families import METHODS, REMOVALS, Family, MultiCrop, family
from lib.studies.robust_ssl.networks import JointEmbedding
from lib.studies.robust_ssl.study import SSLStudy

MEASURED = 2000  # held-out pictures that collapse is measured on
DRAWS = 200  # random halves of them behind an interval
Case = tuple[str, str | None]  # method and removed part
UNTRAINED: Case = ("untrained", None)
CASES: tuple[Case, ...] = (*((method, None) for method in METHODS), *REMOVALS)
FIRST_PARTS: tuple[Case, ...] = tuple((method, family(method).parts[0]) for method in METHODS)
Outputs = dict[Case, Tensor]  # (seeds, m, d)
Tables = dict[Case, Tensor]  # a measure (1 + draws, seeds): on all pictures, then on random halves of them


def spread_of(outputs: Tensor) -> float:
    """Mean standard deviation of unit outputs (m, d) over that of an even sphere: 1 healthy, 0 collapsed."""
    return relative_spread(F.normalize(outputs.double(), dim=1))


def rank_share(outputs: Tensor) -> float:
    """Uncentred effective rank of unit outputs (m, d) over d: near 1 healthy, 1/d for one answer or one line."""
    return uncentred_rank(F.normalize(outputs.double(), dim=1)) / outputs.shape[1]


def short_network(study: SSLStudy, case: Case, seed: int) -> JointEmbedding:
    """The whole network after a short training, frozen in eval mode; `UNTRAINED`: what all families start from."""
    method, part = case
    trained = study.untrained(seed) if case == UNTRAINED else study.short(method, seed, part)
    model = study.plan_of(METHODS[0] if case == UNTRAINED else method, without=part).model()
    model.load_state_dict(trained["network"])
    return model.to(study.run.device).eval().requires_grad_(False)


def in_parts(give: Callable[[Tensor], Tensor], images: Tensor, device: torch.device) -> Tensor:
    """`give` of images (m, 3, S, S) uint8 as pixels in [0,1], in batches, on the CPU."""
    return torch.cat([give(part.to(device).float() / 255).float().cpu() for part in images.split(500)])


def collapse_outputs(study: SSLStudy, case: Case) -> Tensor:
    """Unit projections of held-out objects after each seed's short training, (seeds, m, d)."""
    images = study.objects.images["held"][:MEASURED]
    models = [short_network(study, case, seed) for seed in study.seeds_of(case)]
    return torch.stack([in_parts(model.unit, images, study.run.device) for model in models])


def assignments(study: SSLStudy, case: Case) -> Tensor | None:
    """Probabilities of the prototypes for held-out objects, (seeds, m, K); None for a family without prototypes."""
    kind: type[Family] = family(case[0])
    if not issubclass(kind, MultiCrop):
        return None
    images = study.objects.images["held"][:MEASURED]
    found = []
    for seed in study.seeds_of(case):
        model = short_network(study, case, seed)
        found.append(in_parts(lambda x, model=model: kind.assigned(model, x), images, study.run.device))
    return torch.stack(found)


def collapse_rights(study: SSLStudy, case: Case) -> Tensor:
    """Which test objects a linear probe on the encoder of each seed's short training names rightly, (seeds, m) bool."""
    return torch.stack([study.read_short(case[0], seed, case[1])["linear"] for seed in study.seeds_of(case)])


def measured(outputs: Outputs, measure: Callable[[Tensor], float], draws: int = DRAWS, seed: int = 0) -> Tables:
    """A measure of every case's outputs on all pictures and on random halves, the same for all cases.

    Halves without repeats, for a picture drawn twice is no further direction; their values vary as those of samples of
    the whole size do.
    """
    tables: Tables = {}
    for case, values in outputs.items():
        draw = torch.Generator().manual_seed(seed)
        m = values.shape[1]
        some = [torch.arange(m), *(torch.randperm(m, generator=draw)[: m // 2] for _ in range(draws))]
        tables[case] = torch.tensor([[measure(one[rows]) for one in values] for rows in some], dtype=torch.float64)
    return tables


def share_kept(tables: Tables, case: Case, seed: int = 0) -> Tensor:
    """A measure without a part over that with it, (1 + draws,): of all seeds, then of as many drawn for each half."""
    method, _ = case
    return _means(tables[case], seed) / _means(tables[method, None], seed).clamp_min(1e-9)


def _means(table: Tensor, seed: int) -> Tensor:
    draws, seeds = len(table) - 1, table.shape[1]
    rows = torch.randint(seeds, (draws, seeds), generator=torch.Generator().manual_seed(seed))
    return torch.cat([table[:1].mean(1), table[1:].gather(1, rows).mean(1)])


def over_draws(values: Tensor) -> Interval:
    """The first of the values (1 + draws,) with the 95 % interval of the others, which holds it."""
    low, high = values.double().quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    whole = values[0].item()
    return Interval(whole, min(low, whole), max(high, whole))


def most_kept(tables: Tables, but: tuple[str, ...] = (), seed: int = 0) -> Interval:
    """The largest share of a measure that a family keeps without its first part, over all families but some."""
    cases = [case for case in FIRST_PARTS if case[0] not in but]
    return over_draws(torch.stack([share_kept(tables, case, seed) for case in cases]).amax(0))


def kept_without(tables: Tables, method: str, part: str, seed: int = 0) -> Interval:
    """The share of a measure that a family keeps without a part."""
    return over_draws(share_kept(tables, (method, part), seed))


def missed_by_spread(spread: Tables, rank: Tables, seed: int = 0) -> Interval:
    """Share of the spread lost less share of the rank lost without decorrelation, larger of the two families'.

    Below 0 the standard deviation sees less of the collapse than the rank does.
    """
    cases = [("Barlow Twins", "decorrelation"), ("VICReg", "covariance")]
    gaps = [share_kept(rank, case, seed) - share_kept(spread, case, seed) for case in cases]
    return over_draws(torch.stack(gaps).amax(0))


def smaller_of(first: Interval, second: Interval) -> Interval:
    """An interval for the smaller of two effects: above 0 only where both are, below 0 where one is."""
    ends = {name: min(getattr(first, name), getattr(second, name)) for name in ("estimate", "low", "high")}
    return Interval(**ends, n=min(first.n, second.n))


def case_table(
    spread: Tables, rank: Tables, right: Mapping[Case, Tensor], assigned: Mapping[Case, Tensor | None]
) -> list[dict[str, object]]:
    """Spread, share of rank and accuracy of each case, as the seeds' mean, least and most, for a figure and a table.

    right (seeds, m) bool; assigned: probabilities (seeds, m, K), whose share of rank is told where there are some.
    """
    rows = []
    for case in right:
        row: dict[str, object] = {"family": case[0], "without": case[1] or "-"}
        values = {"spread": spread[case][0], "rank / d": rank[case][0], "accuracy": 100 * right[case].double().mean(1)}
        for name, each in values.items():
            row |= {name: each.mean().item(), f"{name}, least": each.min().item(), f"{name}, most": each.max().item()}
        given = assigned.get(case)
        shares = [rank_share(one) for one in given] if given is not None else []
        rows.append(row | {"assignments, rank / K": f"{sum(shares) / len(shares):.3f}" if shares else "-"})
    return rows
