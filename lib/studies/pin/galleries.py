"""PIN's MegaFace protocol (section V-B): some people with many pictures each, and all ordered pairs of these."""

import torch
from torch import LongTensor, Tensor

from lib.data.sets import Pairs
from lib.errors import WorkbookError


def gallery(labels: Tensor, people: LongTensor, per_person: int, seed: int) -> LongTensor:
    """`per_person` pictures of each of `people`, drawn with `seed`: positions (people * per_person,)."""
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for person in people.tolist():
        mine = (labels == person).nonzero().flatten()
        if len(mine) < per_person:
            raise WorkbookError(f"A person has {len(mine)} pictures, not {per_person}: ask for fewer of each.")
        rows.append(mine[torch.randperm(len(mine), generator=draw)[:per_person]])
    return torch.cat(rows)


def ordered_pairs(labels: Tensor, index: LongTensor) -> Pairs:
    """All ordered pairs of the images `index`: with 80 people and 10 pictures each 7200 genuine, 632 000 impostor.

    Ordered, because the first image is attacked and the second is not: (i, j) and (j, i) are two trials.
    """
    first, second = (part.flatten() for part in torch.meshgrid(index, index, indexing="ij"))
    apart = first != second
    first = first[apart]
    second = second[apart]
    return Pairs(first, second, labels[first] == labels[second], torch.zeros_like(first))


def some_pairs(pairs: Pairs, of_each: int, seed: int) -> Pairs:
    """At most `of_each` genuine and as many impostor pairs, drawn at random: for what cannot attack half a million."""
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for kind in (pairs.same, ~pairs.same):
        at = kind.nonzero().flatten()
        rows.append(at[torch.randperm(len(at), generator=draw)[:of_each]])
    return pairs.take(torch.cat(rows))
