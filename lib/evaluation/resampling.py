"""What a bootstrap draws: how often each unit counts. The same seed gives the same draws on every machine's CPU."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lib.errors import WorkbookError

CHUNK = 4_000_000  # weights held at once


def pair_weights(same: Tensor, people: Tensor | None, resamples: int, seed: int) -> Iterator[Tensor]:
    """Weights of the pairs in `resamples` draws, in chunks (b, P) float64; see `intervals.pair_bootstrap`."""
    draw = torch.Generator().manual_seed(seed)
    identity = None if people is None else _identities(people, same)
    chunk = max(1, CHUNK // len(same))
    for start in range(0, at_least_one(resamples), chunk):
        b = min(chunk, resamples - start)
        if identity is None:
            weights = torch.empty(b, len(same), dtype=torch.float64)
            weights[:, same] = _counts(int(same.sum()), b, draw)
            weights[:, ~same] = _counts(int((~same).sum()), b, draw)
        else:
            drawn = _counts(int(identity.max()) + 1, b, draw)
            left = drawn[:, identity[:, 0]]
            right = drawn[:, identity[:, 1]]
            weights = torch.where(same, left, left * right)
        yield weights


def units(same: Tensor, people: Tensor | None) -> int:
    """Number of independent units: pairs, or people where these are given."""
    return len(same) if people is None else len(torch.as_tensor(people).unique())


def fewest_units(same: Tensor, people: Tensor | None) -> int:
    """Number of independent units of the rarer kind of pair: its pairs, or the people in them where these are given."""
    kinds = [same.bool(), ~same.bool()]
    if people is None:
        return min(int(kind.sum()) for kind in kinds)
    people = torch.as_tensor(people).cpu()
    return min(len(people[kind].unique()) for kind in kinds)


def clusters_of(clusters: Tensor | None, n: int) -> list[Tensor] | None:
    """Rows of each cluster of `clusters` (n,), or None without clusters."""
    if clusters is None:
        return None
    _, group, counts = torch.as_tensor(clusters).detach().cpu().unique(return_inverse=True, return_counts=True)
    return list(group.argsort(stable=True).split(counts.tolist()))


def common_length(samples: tuple[Tensor, ...], clusters: Tensor | None) -> int:
    """The common length of the samples and their clusters, at least 2."""
    lengths = {len(part) if part.ndim else 0 for part in samples}
    if clusters is not None:
        lengths.add(len(torch.as_tensor(clusters)))
    if len(lengths) != 1 or min(lengths) < 2:
        raise WorkbookError(
            f"A bootstrap expects samples (and clusters) of one common length of at least 2, not {sorted(lengths)}; "
            "give the same units in every sample."
        )
    return lengths.pop()


def at_least_one(resamples: int) -> int:
    """The number of draws, if it is one."""
    if int(resamples) != resamples or resamples < 1:
        raise WorkbookError(f"A bootstrap expects a whole number of at least 1 draw, not {resamples}; give 1000, say.")
    return int(resamples)


def _counts(n: int, draws: int, draw: torch.Generator) -> Tensor:
    """How often each of n units comes up in n draws with replacement, (draws, n)."""
    index = torch.randint(n, (draws, n), generator=draw)
    return torch.zeros(draws, n, dtype=torch.float64).scatter_add_(1, index, torch.ones(1, 1).double().expand(draws, n))


def _identities(people: Tensor, same: Tensor) -> Tensor:
    people = torch.as_tensor(people).detach().cpu()
    if people.shape != (len(same), 2) or bool(((people[:, 0] == people[:, 1]) != same).any()):
        raise WorkbookError(
            f"Identities are expected as (P, 2) with P = {len(same)} pairs, equal in genuine and unequal in impostor "
            f"pairs, not {tuple(people.shape)} or against the labels; give the label of both images of each pair."
        )
    return people.unique(return_inverse=True)[1]
