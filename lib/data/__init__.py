"""Named data sets as tensors in [0, 1]: `load('lfw')`, one's own with `folder(path)`, and `doctor()`."""

from lib.data.doctor import doctor
from lib.data.folders import align_folder, folder, own_faces
from lib.data.loading import load
from lib.data.pairs import make_pairs, without_people
from lib.data.registry import SETS
from lib.data.sets import ImageSet, Pairs

__all__ = [
    "SETS",
    "ImageSet",
    "Pairs",
    "align_folder",
    "doctor",
    "folder",
    "load",
    "make_pairs",
    "own_faces",
    "without_people",
]
