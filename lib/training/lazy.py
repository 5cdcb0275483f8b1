"""Training images that need not fit into memory: decoded when a batch asks for them, or mapped from one file.

    images = decoded(faces, index, 112)      # or mapped(faces, index, 112)
    fit(model, Denoising(images, 0.04), len(images), recipe)

Both stand where a loss takes uint8 images (n, C, H, W), and give the same bytes as `resize_uint8`. A checkpoint is
keyed by the set's fingerprint and not by its pixels, which are read once, when they are trained on (or mapped).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import LongTensor, Tensor

from lib.cache import digest
from lib.data.sets import ImageSet
from lib.paths import RUNS, atomic
from lib.training.batches import resize_uint8

CHUNK = 1024  # images in memory while a file is written


@dataclass(frozen=True, eq=False)
class LazyImages:
    """Images (n, C, H, W), uint8, on the CPU; `lazy[index]`, of positions (b,), reads those and no others.

    `read` takes positions (b,) of these images and gives uint8 (b, C, H, W).
    """

    count: int
    read: Callable[[LongTensor], Tensor]
    fingerprint: str
    device = torch.device("cpu")
    dtype = torch.uint8

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: LongTensor | slice) -> Tensor:
        return self.read(torch.arange(self.count)[index])

    @cached_property
    def shape(self) -> torch.Size:
        """(n, C, H, W); reads one image."""
        return torch.Size([self.count, *self[:1].shape[1:]])


def decoded(images: ImageSet, index: LongTensor, side: int) -> LazyImages:
    """The pictures `index` (n,) of a set at (side, side), read from their files anew each time: no memory, no disk."""
    read = partial(_decode, images, index, side)
    return LazyImages(len(index), read, digest(images, index, side, resize_uint8))


def mapped(images: ImageSet, index: LongTensor, side: int, folder: Path | None = None) -> LazyImages:
    """The pictures `index` (n,) of a set at (side, side), decoded once into a file that is then mapped into memory.

    folder: where the file is kept, n C side^2 bytes, default runs/images. A second process waits for the first.
    """
    name = digest(images, index, side, resize_uint8)
    path = (folder or RUNS / "images") / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            _write(path, decoded(images, index, side))
    return LazyImages(len(index), partial(_rows, path), name)


def _decode(images: ImageSet, index: LongTensor, side: int, some: LongTensor) -> Tensor:
    return resize_uint8(images, index[some], side)


def _rows(path: Path, some: LongTensor) -> Tensor:
    return torch.from_numpy(np.load(path, mmap_mode="r")[some.numpy()])


def _write(path: Path, images: LazyImages) -> None:
    """One file of all images; a kill leaves none or the whole."""
    with atomic(path) as scratch:
        file = np.lib.format.open_memmap(scratch, mode="w+", dtype=np.uint8, shape=tuple(images.shape))
        for start in range(0, len(images), CHUNK):
            file[start : start + CHUNK] = images[start : start + CHUNK].numpy()
        file.flush()
        del file
