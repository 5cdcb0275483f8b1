"""Pictures sorted by person, from which training draws: partners of the same person, triplets."""

from typing import NamedTuple

import torch
from torch import LongTensor


class ImagesByPerson(NamedTuple):
    """Person i (of k) owns the pictures order[start[i] : start[i] + count[i]]."""

    order: LongTensor  # (n,) positions of the pictures
    start: LongTensor  # (k,)
    count: LongTensor  # (k,)
    person: LongTensor  # (n,) owner of each picture

    @property
    def turn(self) -> LongTensor:
        """Which of its person's pictures each one is, from 0: (n,)."""
        turn = torch.empty_like(self.order)
        turn[self.order] = torch.arange(len(self.order)) - self.start.repeat_interleave(self.count)
        return turn

    @property
    def several(self) -> LongTensor:
        """People (m,) of two or more pictures."""
        return (self.count > 1).nonzero().flatten()


def images_by_person(labels: LongTensor) -> ImagesByPerson:
    """The album of pictures with these labels (n,); people are counted in the order of their labels."""
    _, person, count = labels.cpu().unique(return_inverse=True, return_counts=True)
    return ImagesByPerson(person.argsort(stable=True), count.cumsum(0) - count, count, person)


def random_below(most: LongTensor, generator: torch.Generator) -> LongTensor:
    """For each of `most` (t,) a random whole number from 0 to most - 1, or 0 where there is none."""
    return (torch.rand(most.shape, dtype=torch.float64, generator=generator) * most).long()


def with_partners(album: ImagesByPerson, index: LongTensor, generator: torch.Generator) -> LongTensor:
    """index (b,) whose second half is, row by row, another picture of the person in the first half.

    A row keeps its picture where the draw, one of all pictures of that person, hits the first half's own.
    """
    first = index[: len(index) // 2]
    second = index[len(index) // 2 :]
    person = album.person[first]
    drawn = album.order[album.start[person] + random_below(album.count[person], generator)]
    partner = torch.cat([torch.where(drawn == first, second[: len(first)], drawn), second[len(first) :]])
    return torch.cat([first, partner])
