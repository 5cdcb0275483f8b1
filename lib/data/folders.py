"""The door for one's own faces: any folder (or zip) of images as a set."""

import re
from pathlib import Path

from lib.data.readers.archives import open_store
from lib.data.readers.decode import from_files, image_files
from lib.data.sets import ImageSet
from lib.errors import WorkbookError


def folder(path: str | Path, *, size: int | None = 112, gray: bool = False, shown: bool = False) -> ImageSet:
    """A folder or zip of images as a set whose labels are people.

    Laid out as `person/file.jpg`, or flat as `anna_1.jpg anna_2.jpg bert_1.jpg`, where the name without its number is
    the person. Pictures are turned upright, scaled and centre-cropped to `size` x `size` (None: left as they are, then
    all must have one size) and come as RGB, or gray with one channel. Recognisers expect an aligned face that fills
    the crop. Set `shown` where these people agreed to be drawn in figures.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise WorkbookError(
            f"There is no folder {path}: give one that holds images, as person/file.jpg or person_1.jpg."
        )
    store = open_store(place)
    files = image_files(store)
    if not files:
        raise WorkbookError(f"The folder {path} holds no image (jpg, png, bmp, pgm, ppm, webp or tif): give another.")
    return from_files(
        store.path.name,
        store,
        files,
        [_person(name) for name in files],
        mode="L" if gray else "RGB",
        size=size,
        source=f"folder: {store.label}",
        shown=shown,
    )


def _person(name: str) -> str:
    """The folder a file lies in, or its name without the trailing number."""
    if "/" in name:
        return name.split("/")[-2]
    stem = name.rsplit(".", 1)[0]
    return re.sub(r"[\W_]*\d+$", "", stem) or stem
