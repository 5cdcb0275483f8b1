"""FER2013 with the votes of FER+: seven expressions, gray 48x48."""

import csv
import io
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lib.data.readers.archives import Store, digest, open_store
from lib.data.readers.decode import ImageFiles, from_files, image_files, read_array
from lib.data.sets import ImageSet
from lib.errors import WorkbookError

EXPRESSIONS = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]  # Kaggle's order, 0 to 6
VOTES = ["neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF"]
USAGES = {"Training": "train", "PublicTest": "public_test", "PrivateTest": "private_test"}
CREDIT = "FER2013 (Goodfellow et al. 2013); votes: FER+ (Barsoum et al. 2016)"


def load_fer2013(store: Store, *, size: int = 48) -> ImageSet:
    """FER2013: 35 887 gray images; splits train, public_test and private_test (28 709 / 3 589 / 3 589).

    Read from an archive or folder `<split>/<expression>/<file>`, or from Kaggle's csv (emotion, pixels, Usage). Where
    `ferplus.zip` lies beside, `attributes['votes']` (n, 10) holds FER+'s votes in the order of `VOTES`, -1 where an
    image has none.
    """
    table = store.find("fer2013.csv") or store.find("icml_face_data.csv")
    return _from_csv(store, table, size) if table else _from_folders(store, size)


def _from_folders(store: Store, size: int) -> ImageSet:
    files = image_files(store)
    parts = [name.split("/") for name in files]
    strange = sorted({words[-2] for words in parts} - set(EXPRESSIONS))
    if strange or not files:
        raise WorkbookError(
            f"{store.label} is expected to hold <split>/<expression>/<image> with FER2013's seven expressions, "
            f"but holds {strange[0] if strange else 'no image'}: check what was unpacked."
        )
    votes, salt = _votes(store, files)
    splits = [words[-3] if len(words) > 2 else "train" for words in parts]
    return from_files(
        "fer2013",
        ImageFiles(store, files, mode="L", size=size),
        [words[-2] for words in parts],
        classes=EXPRESSIONS,
        salt=salt,
        splits=_splits(splits),
        attributes=votes,
        credit=CREDIT,
    )


def _from_csv(store: Store, table: str, size: int) -> ImageSet:
    """Kaggle's table: the k-th row is the image that FER+ calls fer<k>.png."""
    reader = csv.DictReader(io.StringIO(store.text(table)), skipinitialspace=True)
    try:
        rows = [(int(row["emotion"]), row["Usage"], np.array(row["pixels"].split(), np.uint8)) for row in reader]
        pixels = torch.from_numpy(np.stack([row[2] for row in rows])).reshape(-1, 1, 48, 48)
        labels = torch.tensor([row[0] for row in rows])
        splits = [USAGES[row[1]] for row in rows]
        if labels.min() < 0 or labels.max() >= len(EXPRESSIONS):
            raise ValueError
    except (KeyError, ValueError, OverflowError, AttributeError, RuntimeError):
        raise WorkbookError(
            f"{table} in {store.label} is not FER2013's table (columns emotion, pixels, Usage; 48x48 pixels a row): "
            "fetch it again."
        ) from None
    if size != 48:
        pixels = torch.nn.functional.interpolate(pixels.float(), size, mode="bilinear", antialias=True).round().byte()
    names = [f"fer{at:07d}.png" for at in range(len(rows))]
    votes, salt = _votes(store, names)
    return ImageSet(
        name="fer2013",
        source=f"data root: {store.label}",
        labels=labels,
        classes=list(EXPRESSIONS),
        names=names,
        read=partial(read_array, array=pixels),
        fingerprint=digest([store.fingerprint, salt, str(size)]),
        splits=_splits(splits),
        attributes=votes,
        credit=CREDIT,
    )


def _splits(parts: list[str]) -> dict[str, Tensor]:
    return {name: torch.tensor([at for at, part in enumerate(parts) if part == name]) for name in dict.fromkeys(parts)}


def _votes(store: Store, names: list[str]) -> tuple[dict[str, Tensor], str]:
    """FER+'s votes for the images of these names (either naming), and the fingerprint of where they came from."""
    path = store.path.parent / "ferplus.zip"
    if not path.is_file():
        return {}, ""
    ferplus = open_store(path)
    votes: dict[str, list[int]] = {}
    for table, column in (("ferplus_for_shared_fer2013.csv", "file"), ("fer2013new.csv", "Image name")):
        for row in csv.DictReader(io.StringIO(ferplus.text(table))):
            votes[_ending(row[column])] = [int(row[vote]) for vote in VOTES]
    blank = [-1] * len(VOTES)
    return {"votes": torch.tensor([votes.get(_ending(name), blank) for name in names])}, ferplus.fingerprint


def _ending(name: str) -> str:
    """Expression and file: two pairs of images share a file name, in different folders."""
    return "/".join(name.split("/")[-2:])
