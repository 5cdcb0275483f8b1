import numpy as np
import pytest
import torch

from lib.data import load
from lib.data.alignment import TEMPLATE
from lib.errors import WorkbookError
from tests.conftest import needs_data
from tests.data.conftest import landmarks, write_zip
from tests.data.datasets.test_objects import png

POINTS = np.array([[560, 545], [776, 545], [665, 656.7], [590, 775], [740, 775]]) * 448 / 1350


def face(dx=0, dy=0):
    """448x448 with a blob at each of the five points."""
    y, x = np.mgrid[:448, :448] + 0.5
    blobs = sum(np.exp(-((x - px - dx) ** 2 + (y - py - dy) ** 2) / 50) for px, py in POINTS)
    return png((blobs.clip(0, 1) * 255).astype(np.uint8))


def miniature(root, **replace):
    files = {}
    for who in ("001", "002"):
        files[f"london_ccby/neutral_front/{who}_03.jpg"] = face()
        files[f"london_ccby/neutral_front/{who}_03.tem"] = landmarks()
        files[f"london_ccby/smiling_front/{who}_08.jpg"] = face(9, 14)
    write_zip(
        root / "london_ccby.zip", {name: replace.get(name[-6:-4] + name[-4:], text) for name, text in files.items()}
    )


def test_raw_and_aligned(root):
    miniature(root)
    raw = load("london")
    assert (len(raw), raw.classes, raw.shown) == (4, ["001", "002"], True)
    assert "CC BY 4.0" in raw.credit
    assert "10.6084/m9.figshare.5047666" in raw.credit
    assert raw.images().shape == (4, 3, 448, 448)
    aligned = load("london", size=112)
    assert aligned.attributes["smiling"].tolist() == [0, 0, 1, 1]
    assert aligned.fingerprint != raw.fingerprint
    for picture in aligned.images()[:, 0]:  # the moved head of the smiling pictures is found again
        for x, y in TEMPLATE.round().astype(int):
            assert picture[y - 2 : y + 3, x - 2 : x + 3].max() > 0.8


def test_broken_landmarks_and_sizes(root):
    miniature(root, **{"03.tem": "12\n1 2\n"})
    with pytest.raises(WorkbookError, match=r"_03.tem in london_ccby.zip does not hold 189 landmarks"):
        load("london", size=112)
    with pytest.raises(WorkbookError, match="size=448"):
        load("london", size=500)


@needs_data("london_ccby.zip")
def test_real_london():
    raw, aligned = load("london", where="root"), load("london", where="root", size=112)
    assert (len(raw), len(raw.classes)) == (204, 102)
    assert raw.labels.bincount().tolist() == [2] * 102
    smiling = aligned.attributes["smiling"].bool()
    pictures = aligned.images()
    assert pictures.shape == (204, 3, 112, 112)
    eyes = pictures[:, :, 44:60, 28:84].mean(1).flatten(1)
    eyes = (eyes - eyes.mean(1, keepdim=True)) / eyes.std(1, keepdim=True)
    likeness = (eyes[~smiling] * eyes[smiling]).mean(1)
    assert torch.equal(aligned.labels[~smiling], aligned.labels[smiling])
    assert likeness.median() > 0.85  # 0.19 where the smile gets the neutral transform as it is
