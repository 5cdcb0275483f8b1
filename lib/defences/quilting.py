"""Image quilting: rebuild a face from patches of clean faces (Guo et al. 2018, section 4; Efros and Freeman 2001)."""

from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.defences.image_seeded import image_seeded_uniform
from lib.errors import WorkbookError

ENTRIES = {"cpu": 2**20, "cuda": 2**27}  # distances held at once: what fits a core's cache, or a GPU with room to spare


def patch_bank(images: Tensor, size: int, patch: int = 5, seed: int = 0) -> Tensor:
    """`size` patches (size, patch^2) cut at random places from clean gray images (n, 1, H, W), uint8 or in [0,1]."""
    count, _, height, width = images.shape
    if patch > min(height, width):
        raise WorkbookError(f"Patches of {patch} pixels do not fit images of {height}x{width}: take smaller patches.")
    generator = torch.Generator().manual_seed(seed)
    ends = (count, height - patch + 1, width - patch + 1)
    image, top, left = (torch.randint(end, (size, 1, 1), generator=generator) for end in ends)
    side = torch.arange(patch)
    cut = images.cpu()[image, 0, top + side[:, None], left + side].flatten(1)
    return cut.float() / 255 if cut.dtype == torch.uint8 else cut


class Quilting(nn.Module):
    """Replace every patch by one of its nearest clean patches, drawn at random, and hide the seams.

    bank: (M, patch^2) clean patches in [0,1] (`patch_bank`). Neighbouring patches share `overlap` pixels; `neighbours`
    is K. Guo et al. give patch 5, K = 10 and a bank of a million; the overlap is left open, 2 is ours. No gradient
    flows: attack it by BPDA. `seed=None` draws afresh on each call, a seed fixes the draws of an image.
    """

    def __init__(self, bank: Tensor, patch: int = 5, overlap: int = 2, neighbours: int = 10, seed: int | None = 0):
        super().__init__()
        if bank.ndim != 2 or bank.shape[1] != patch**2 or len(bank) < neighbours:
            need = f"at least {neighbours} patches of {patch**2} pixels, shape (M, {patch**2})"
            raise WorkbookError(f"Quilting needs a bank of {need}, but {tuple(bank.shape)} came: use patch_bank.")
        if not 0 < overlap < patch or neighbours < 1:
            raise WorkbookError(f"overlap lies in 1 ... {patch - 1}, neighbours is at least 1: correct the one.")
        self.patch = patch
        self.overlap = overlap
        self.neighbours = neighbours
        self.seed = seed
        self.register_buffer("bank", bank)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Gray images (n, 1, H, W) in [0,1] to quilts of the same shape."""
        if x.ndim != 4 or x.shape[1] != 1 or min(x.shape[2:]) < self.patch:
            needed = f"gray images (n, 1, H, W) of at least {self.patch} pixels"
            raise WorkbookError(f"Quilting takes {needed} and got {tuple(x.shape)}: use to_gray.")
        tops = self.starts(x.shape[2])
        lefts = self.starts(x.shape[3])
        patches = x[:, 0].unfold(1, self.patch, 1).unfold(2, self.patch, 1)[:, tops][:, :, lefts]
        near = self.nearest(patches.flatten(3).flatten(0, 2))
        ranks = (image_seeded_uniform(x, len(tops) * len(lefts), self.seed) * self.neighbours).long()
        chosen = self.bank[near.gather(1, ranks.view(-1, 1)).squeeze(1)]
        return quilt(chosen.view(patches.shape), tops, lefts).unsqueeze(1)

    def starts(self, length: int) -> list[int]:
        """First pixels of the patches along one side; the last patch ends with the image."""
        places = list(range(0, length - self.patch + 1, self.patch - self.overlap))
        return places if places[-1] == length - self.patch else [*places, length - self.patch]

    def nearest(self, patches: Tensor) -> Tensor:
        """Positions (m, K) in the bank of the K patches nearest to each of `patches` (m, patch^2), in L2."""
        size = self.bank.square().sum(1)
        device = self.bank.device
        rows = max(1, ENTRIES.get(device.type, 2**20) // len(self.bank))
        # ||p - b||^2 = ||p||^2 + (||b||^2 - 2 p.b), and the first term ranks nothing
        distances = (torch.addmm(size, part, self.bank.T, alpha=-2) for part in patches.split(rows))
        return torch.cat([part.topk(self.neighbours, largest=False).indices for part in distances])

    def extra_repr(self) -> str:
        """All that fixes the output, for the cache's keys."""
        settings = f"patch={self.patch}, overlap={self.overlap}, neighbours={self.neighbours}"
        return f"{len(self.bank)} patches, {settings}, seed={self.seed}"


def quilt(patches: Tensor, tops: list[int], lefts: list[int]) -> Tensor:
    """Lay patches (n, R, C, p, p) with their corners at `tops` x `lefts`, in raster order: images (n, H, W).

    Where a patch meets what lies there already, the old pixels stay on the far side of the cheapest seam. Patches that
    meet neither each other nor each other's neighbours are laid at once, which changes nothing but the time.
    """
    side = patches.shape[-1]
    device = patches.device
    canvas = patches.new_empty(len(patches), tops[-1] + side, lefts[-1] + side)
    corners = [torch.tensor(starts, device=device) for starts in (tops, lefts)]
    overlaps = [
        torch.tensor([0] + [a + side - b for a, b in pairwise(starts)], device=device) for starts in (tops, lefts)
    ]
    pixel = torch.arange(side, device=device)
    for i, j in waves(len(tops), lefts, side, device):
        rows = corners[0][i][:, None, None] + pixel[:, None]
        columns = corners[1][j][:, None, None] + pixel
        place = canvas[:, rows, columns]
        new = patches[:, i, j]
        keep = before_seam(place, new, overlaps[1][j]) | before_seam(place.mT, new.mT, overlaps[0][i]).mT
        canvas[:, rows, columns] = torch.where(keep, place, new)
    return canvas


def waves(rows: int, lefts: list[int], side: int, device: torch.device) -> Iterator[tuple[LongTensor, LongTensor]]:
    """Places (rows i, columns j) that can be laid at once, each after all that raster order has it meet."""
    columns = len(lefts)
    skew = next(
        (s for s in range(1, columns) if all(b - a >= side for a, b in zip(lefts, lefts[s:], strict=False))), columns
    )
    for wave in range(columns + skew * (rows - 1)):
        i = torch.arange(max(0, -((columns - 1 - wave) // skew)), min(rows - 1, wave // skew) + 1, device=device)
        yield i, wave - skew * i


def before_seam(old: Tensor, new: Tensor, overlap: LongTensor) -> Tensor:
    """Which pixels (n, m, p, p) stay old when `new` joins from the right over the first `overlap` (m,) columns."""
    column = torch.arange(old.shape[-1], device=old.device)
    widest = int(overlap.max())
    if widest == 0:
        return torch.zeros_like(old, dtype=torch.bool)
    outside = column[:widest] >= overlap[:, None, None]
    cost = (old - new)[..., :widest].square().masked_fill(outside, torch.inf)
    return column < cheapest_seam(cost.flatten(0, 1)).view(*old.shape[:3], 1)


def cheapest_seam(cost: Tensor) -> Tensor:
    """Columns (n, rows) of the top-to-bottom path of least total cost through `cost` (n, rows, columns).

    Dynamic programming; from one row to the next the path moves by at most one column.
    """
    total = [cost[:, 0]]
    for row in cost.unbind(1)[1:]:
        total.append(row + F.pad(total[-1], (1, 1), value=torch.inf).unfold(1, 3, 1).amin(2))
    path = [total[-1].argmin(1)]
    column = torch.arange(cost.shape[2], device=cost.device)
    for row in total[-2::-1]:
        unreachable = (column - path[-1][:, None]).abs() > 1
        path.append(row.masked_fill(unreachable, torch.inf).argmin(1))
    return torch.stack(path[::-1], 1)
