"""Verification pairs: read from LFW's list, drawn from labels, and kept apart from the images of other people."""

import numpy as np
import torch
from torch import LongTensor, Tensor

from lib.data.readers.archives import Store
from lib.data.sets import ImageSet, Pairs
from lib.errors import WorkbookError

FOLDS = 10


def pairs_of(rows: list[tuple[int, int, bool, int]]) -> Pairs:
    """Pairs from (first, second, same, fold) rows."""
    if not rows:
        raise WorkbookError("A list of pairs is empty: fetch its file again.")
    first, second, same, fold = (torch.tensor(column) for column in zip(*rows, strict=True))
    return Pairs(first, second, same, fold)


def lfw_pairs(text: str, place: dict[str, int], label: str) -> Pairs:
    """LFW's list of view 2: a line `folds n`, then per fold n genuine and n impostor pairs.

    `place` maps 'Name_0001' to an image's position. Folds are numbered from 0.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        folds, n = map(int, lines[0])
        rows = [_lfw_row(words, place, at // (2 * n)) for at, words in enumerate(lines[1:])]
    except KeyError as error:
        raise WorkbookError(f"{label} names {error.args[0]}, which the set does not hold: they do not match.") from None
    except (ValueError, IndexError):
        raise WorkbookError(f"{label} is not a list of pairs in LFW's format: fetch it again.") from None
    if len(rows) != 2 * folds * n:
        raise WorkbookError(f"{label} announces {2 * folds * n} pairs but holds {len(rows)}: fetch it again.")
    return pairs_of(rows)


def _lfw_row(words: list[str], place: dict[str, int], fold: int) -> tuple[int, int, bool, int]:
    same = len(words) == 3
    one, i, other, j = (words[0], words[1], words[0], words[2]) if same else words
    return place[f"{one}_{int(i):04d}"], place[f"{other}_{int(j):04d}"], same, fold


def cfp_pairs(store: Store, kind: str, place: dict[str, int]) -> Pairs:
    """CFP's protocol 'FF' or 'FP': ten folds of 350 genuine and 350 impostor pairs.

    `place` maps '001/frontal/01.jpg' to an image's position. The second image is frontal in FF, a profile in FP.
    """
    lists = [_cfp_list(store, place, f"Pair_list_{letter}.txt") for letter in ("F", kind[1])]
    rows = []
    for fold in range(FOLDS):
        for file, same in (("same.txt", True), ("diff.txt", False)):
            name = f"Protocol/Split/{kind}/{fold + 1:02d}/{file}"
            for line in store.text(store.find(name) or name).split():
                rows.append((*_cfp_row(line, lists, f"{name} in {store.label}"), same, fold))
    return pairs_of(rows)


def _cfp_list(store: Store, place: dict[str, int], name: str) -> dict[int, int]:
    """The numbers that the protocol gives to images, as positions."""
    words = (line.split() for line in store.text(store.find(name) or f"Protocol/{name}").splitlines() if line.strip())
    try:
        return {int(number): place["/".join(path.split("/")[-3:])] for number, path in words}
    except (KeyError, ValueError):
        raise WorkbookError(f"{name} in {store.label} does not match its images: fetch the archive again.") from None


def _cfp_row(line: str, lists: list[dict[int, int]], label: str) -> tuple[int, int]:
    try:
        return tuple(numbers[int(word)] for numbers, word in zip(lists, line.split(","), strict=True))
    except (KeyError, ValueError):
        raise WorkbookError(f"{label} has a line '{line}' that names no pair: fetch the archive again.") from None


def make_pairs(labels: Tensor, positives: int, negatives: int, seed: int) -> Pairs:
    """Draw genuine and impostor pairs, uniformly over all pairs of each kind and without repetition.

    `labels` (n,) are people. Genuine pairs come first; the ten folds follow the position within each kind. Raises
    WorkbookError where the labels do not hold that many pairs.
    """
    rng = np.random.default_rng(seed)
    genuine = _genuine(np.asarray(labels), positives, rng)
    impostor = _impostor(np.asarray(labels), negatives, rng)
    first, second = torch.from_numpy(np.concatenate([genuine, impostor])).T
    same = torch.arange(len(first)) < positives
    fold = torch.cat([torch.arange(k) * FOLDS // max(k, 1) for k in (positives, negatives)])
    return Pairs(first.contiguous(), second.contiguous(), same, fold)


def make_pairs_apart(labels: Tensor, most: int, seed: int) -> Pairs:
    """Draw up to `most` pairs of each kind, as many genuine as impostor, so that no person occurs in two folds.

    `labels` (n,) are people. People are dealt to ten folds, or to fewer of two people each where there are few, and
    pairs are drawn within a fold: what is tested on one fold can then be fitted on the people of the others. Where
    fewer than four people have two images, the folds follow the position, as in `make_pairs`.
    """
    people, counts = labels.unique(return_counts=True)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    order = order[(counts[order] > 1).long().argsort(descending=True, stable=True)]  # each fold its share of both kinds
    folds = min(FOLDS, int((counts > 1).sum()) // 2)
    if folds < 2:
        n = min(most, *_possible(labels))
        return make_pairs(labels, n, n, seed)
    parts = []
    for fold in range(folds):
        index = torch.isin(labels, people[order[fold::folds]]).nonzero().flatten()
        n = min(-(-most // folds), *_possible(labels[index]))
        drawn = make_pairs(labels[index], n, n, seed)
        parts.append(Pairs(index[drawn.first], index[drawn.second], drawn.same, torch.full((2 * n,), fold)))
    return Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in ("first", "second", "same", "fold")))


def _possible(labels: Tensor) -> tuple[int, int]:
    """How many genuine and how many impostor pairs these labels hold."""
    counts = labels.unique(return_counts=True)[1]
    genuine = int((counts * (counts - 1) // 2).sum())
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine


def _unrank(rank: np.ndarray) -> np.ndarray:
    """The rank-th pair i < j in the order (0,1), (0,2), (1,2), (0,3), ...; shape (k, 2)."""
    j = ((1 + np.sqrt(1 + 8 * rank.astype(np.float64))) // 2).astype(np.int64)
    j -= j * (j - 1) // 2 > rank  # the square root may round up
    return np.stack([rank - j * (j - 1) // 2, j], axis=1)


def _genuine(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    order = np.argsort(labels, kind="stable")
    counts = np.unique(labels, return_counts=True)[1]
    ends = np.cumsum(counts * (counts - 1) // 2)
    if n > ends[-1]:
        raise WorkbookError(f"{n} genuine pairs were asked for, but these labels hold {ends[-1]}: ask for fewer.")
    rank = rng.choice(ends[-1], n, replace=False)
    person = np.searchsorted(ends, rank, side="right")
    inside = _unrank(rank - np.concatenate([[0], ends])[person])
    return np.sort(order[inside + (np.cumsum(counts) - counts)[person][:, None]], axis=1)


def _impostor(labels: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    counts = np.unique(labels, return_counts=True)[1]
    total = len(labels) * (len(labels) - 1) // 2
    most = total - int((counts * (counts - 1) // 2).sum())
    if n > most:
        raise WorkbookError(f"{n} impostor pairs were asked for, but these labels hold {most}: ask for fewer.")
    draw = min(total, n + 16)
    while True:  # draw more until enough of them are of two people
        pairs = _unrank(rng.choice(total, draw, replace=False))
        pairs = pairs[labels[pairs[:, 0]] != labels[pairs[:, 1]]]
        if len(pairs) >= n:
            return pairs[:n]
        draw = min(total, 2 * draw)


def without_people(images: ImageSet, *pairs: Pairs) -> LongTensor:
    """Positions of the images whose person occurs in none of the given pairs (of that same set)."""
    used = torch.cat([images.labels[torch.cat([some.first, some.second])] for some in pairs]).unique()
    return (~torch.isin(images.labels, used)).nonzero().flatten()
