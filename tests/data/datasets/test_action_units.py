"""Miniatures of the layouts that BP4D and DISFA are published in."""

import pytest

from lib.data import load
from lib.errors import WorkbookError
from tests.data.conftest import picture, write


def test_bp4d(root):
    files = {f"bp4d/2D+3D/F001/T1/{k:04d}.jpg": picture(k, (30, 20), kind="JPEG") for k in (11, 12, 13)}
    files |= {"bp4d/2D+3D/M002/T8/7.jpg": picture(1, (30, 20), kind="JPEG")}
    files |= {
        "bp4d/AUCoding/AU_OCC/F001_T1.csv": "0,1,2,12\n11,1,0,9\n12,0,1,0\n",
        "bp4d/AUCoding/AU_OCC/M002_T8.csv": "0,1,2,12\n7,0,0,1\n",
    }
    write(root, files)
    images = load("bp4d")
    assert images.classes == ["F001", "M002"]
    assert [name.split("/")[-1] for name in images.names] == ["0011.jpg", "0012.jpg", "7.jpg"]  # frame 13 is not coded
    assert images.attributes["AU1"].tolist() == [1, 0, 0]
    assert images.attributes["AU12"].tolist() == [-1, 0, 1]
    assert images.attributes["task"].tolist() == [1, 1, 8]
    assert load("bp4d", size=16).images().shape == (3, 3, 16, 16)
    write(root, {"bp4d/AUCoding/AU_OCC/F001_T1.csv": "0,1\n11,many\n"})
    with pytest.raises(WorkbookError, match=r"F001_T1.csv in bp4d is not a table"):
        load("bp4d")


@pytest.mark.parametrize(("first", "folder"), [(1, "SN001"), (0, "LeftVideoSN001_comp")])
def test_disfa(root, first, folder):
    files = {f"disfa/frames/{folder}/{k + first}.png": picture(k) for k in range(3)}
    for unit, values in ((1, (0, 3, 5)), (12, (2, 0, 1))):
        lines = "".join(f"{k},{value}\n" for k, value in enumerate(values, 1))
        files[f"disfa/ActionUnit_Labels/SN001/SN001_au{unit}.txt"] = lines
    write(root, files)
    images = load("disfa")
    assert (len(images), images.classes) == (3, ["SN001"])
    assert images.attributes["AU1"].tolist() == [0, 3, 5]
    assert images.attributes["AU12"].tolist() == [2, 0, 1]
