"""People split_by_class to parts, so that no one is fitted, learnt and tested on at once."""

import torch
from torch import LongTensor, Tensor

from lib.errors import WorkbookError


def deal_people(labels: Tensor, index: LongTensor, sizes: dict[str, int], seed: int = 0) -> dict[str, LongTensor]:
    """Cut the images `index` into named parts of about `sizes` images, every person whole in one part.

    labels (n,) are people, of all images. People come in an order drawn with `seed`; a part takes people until it holds
    its number of images; a size of -1 (last) takes the rest. Raises when the images do not suffice.
    """
    if not all(size == -1 or size > 0 for size in sizes.values()):
        raise WorkbookError(f"A part holds at least one image, or the rest (-1), but {sizes} came: change the sizes.")
    mine = labels[index]
    people, counts = mine.unique(return_counts=True)
    order = torch.randperm(len(people), generator=torch.Generator().manual_seed(seed))
    ends = counts[order].cumsum(0)
    start = 0
    parts = {}
    for name, size in sizes.items():
        before = int(ends[start - 1]) if start else 0
        stop = len(order) if size == -1 else int((ends < before + size).sum()) + 1
        if start >= len(order) or (size != -1 and int(ends[-1]) < before + size):
            raise WorkbookError(f"{len(index)} images do not fill the parts {sizes}: ask for fewer.")
        parts[name] = index[torch.isin(mine, people[order[start:stop]])]
        start = stop
    return parts


def people_with(labels: Tensor, index: LongTensor, images: int, most: int) -> LongTensor:
    """Up to `most` people who have at least `images` of the images `index`, those with the fewest images first."""
    people, counts = labels[index].unique(return_counts=True)
    fit = (counts >= images).nonzero().flatten()
    return people[fit[counts[fit].argsort(stable=True)][:most]]
