"""Named data sets as tensors in [0, 1]: `load('lfw')`, one's own with `folder(path)`, and `doctor()`."""

from lib.data.doctor import doctor
from lib.data.folders import folder
from lib.data.loading import load
from lib.data.pairs import make_pairs, without_people
from lib.data.registry import SETS
from lib.data.sets import ImageSet, Pairs

__all__ = ["SETS", "ImageSet", "Pairs", "doctor", "folder", "load", "make_pairs", "without_people"]
