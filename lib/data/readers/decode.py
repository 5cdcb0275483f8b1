"""From bytes to tensors, and from a store's files to an ImageSet. Everything here can be sent to another process."""

import io
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import LongTensor, Tensor

from lib.data.alignment import warp
from lib.data.readers.archives import Store, digest
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

BROKEN = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)  # what Pillow raises for a bad file
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".pgm", ".ppm", ".webp", ".tif", ".tiff")


def image_files(store: Store, under: str = "") -> list[str]:
    """The store's image files below a folder, in natural order (2.jpg before 10.jpg)."""
    found = (name for name in store.names if name.startswith(under) and name.lower().endswith(IMAGES))
    return sorted(found, key=natural)


def natural(name: str) -> list:
    """A sort key that reads runs of digits as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def numbered(keys: Sequence[str]) -> tuple[LongTensor, list[str]]:
    """Labels (n,) and the sorted names they index."""
    classes = sorted(set(keys), key=natural)
    place = {name: at for at, name in enumerate(classes)}
    return torch.tensor([place[key] for key in keys], dtype=torch.long), classes


def upright(content: bytes, mode: str) -> Image.Image:
    """One image file as a picture in `mode`, turned the way its camera was held."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert(mode)


def decode(content: bytes, mode: str, size: int | None, matrix: np.ndarray | None) -> np.ndarray:
    """One image file as uint8 (H, W) or (H, W, 3): warped by `matrix`, or scaled and centre-cropped, to `size`."""
    image = upright(content, mode)
    if matrix is not None:
        image = warp(image, matrix, size)
    elif size and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """A store's image files and how they are read.

    `mode` is 'RGB' or 'L' (gray). `size` scales and centre-crops, or with `matrices` (one (2, 3) similarity per file)
    warps.
    """

    store: Store
    names: Sequence[str]
    mode: str = "RGB"
    size: int | None = None
    matrices: Sequence[np.ndarray] | None = None

    def read(self, index: Sequence[int]) -> Tensor:
        """The files at `index` as uint8 (k, C, H, W)."""
        threads = min(8, os.cpu_count() or 1)
        if len(index) < 32 or threads == 1:
            arrays = [self.decoded(at) for at in index]
        else:  # Pillow lets go of the interpreter lock while it decodes
            with ThreadPoolExecutor(threads) as pool:
                arrays = list(pool.map(self.decoded, index))
        sizes = {array.shape[:2] for array in arrays}
        if len(sizes) > 1:
            some = " and ".join(f"{height}x{width}" for height, width in sorted(sizes)[:2])
            raise WorkbookError(
                f"The images in {self.store.label} differ in size ({some}): load the set with size=112 or so."
            )
        stack = torch.from_numpy(np.stack(arrays))
        return stack.unsqueeze(1) if self.mode == "L" else stack.permute(0, 3, 1, 2).contiguous()

    def decoded(self, at: int) -> np.ndarray:
        """One file as uint8 (H, W) or (H, W, 3)."""
        matrix = self.matrices[at] if self.matrices else None
        try:
            return decode(self.store.bytes(self.names[at]), self.mode, self.size, matrix)
        except BROKEN as error:
            raise broken(self.names[at], self.store, error) from None

    def fingerprint_with(self, salt: str) -> str:
        """What names the pictures as they are read: the store's content, the files, the way, and `salt`."""
        way = [self.mode, str(self.size), str(self.matrices is not None)]
        return digest([self.store.fingerprint, salt, *way, *self.names])


def broken(name: str, store: Store, error: Exception) -> WorkbookError:
    """The sentence for an image file that cannot be read; Pillow's message comes without the address of its buffer."""
    reason = "the file format is not known" if "cannot identify" in str(error) else str(error)
    return WorkbookError(f"{name} in {store.label} is not a whole image ({reason}): fetch it again.")


def read_array(index: Sequence[int], array: Tensor) -> Tensor:
    """Rows of an in-memory uint8 (n, C, H, W) tensor."""
    return array[torch.as_tensor(index)]


def from_files(
    name: str,
    files: ImageFiles,
    keys: Sequence[str],
    *,
    classes: Sequence[str] | None = None,
    source: str | None = None,
    salt: str = "",
    **rest: object,
) -> ImageSet:
    """An ImageSet over `files`, whose class or person is named by `keys`; rest: further fields of `ImageSet`.

    `classes` fixes the order of the labels. `salt` joins the fingerprint: label files, options.
    """
    if classes is None:
        labels, classes = numbered(keys)
    else:
        place = {key: at for at, key in enumerate(classes)}
        labels = torch.tensor([place[key] for key in keys], dtype=torch.long)
    return ImageSet(
        name=name,
        source=source or f"data root: {files.store.label}",
        labels=labels,
        classes=list(classes),
        names=list(files.names),
        read=files.read,
        fingerprint=files.fingerprint_with(salt),
        **rest,
    )
