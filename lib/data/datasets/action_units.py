"""Loaders for the licensed sets with coded action units, BP4D and DISFA, in the layouts that their owners publish."""

import csv
import io
import re

import torch
from torch import Tensor

from lib.data.readers.archives import Store
from lib.data.readers.decode import ImageFiles, from_files, image_files
from lib.data.sets import ImageSet
from lib.errors import WorkbookError


def load_bp4d(store: Store, *, size: int | None = None) -> ImageSet:
    """BP4D: the coded frames, labels are subjects; `attributes['AU<k>']` is 1, 0 or -1 (not coded), and `task` 1 to 8.

    Needs AUCoding/AU_OCC/<subject>_<task>.csv (a header of AU numbers; 9 is 'not coded') and frames anywhere as
    <subject>/<task>/<frame>.jpg. The frames show head and shoulders: crop the faces first, or choose `size` knowingly.
    """
    coded: dict[tuple, dict[str, int]] = {}
    for name in store.names:
        if match := re.search(r"AU_OCC/([FM]\d{3})_T(\d)\.csv$", name):
            units, *rows = _integers(store, name)
            for frame, *values in rows:
                named = zip(units[1:], values, strict=False)
                coded[match[1], int(match[2]), frame] = {f"AU{unit}": -1 if v == 9 else v for unit, v in named}
    pattern = re.compile(r"([FM]\d{3})/T(\d)/(\d+)\.\w+$")
    keys = {name: (m[1], int(m[2]), int(m[3])) for name in image_files(store) if (m := pattern.search(name))}
    return _coded("bp4d", store, keys, coded, size, "BP4D-Spontaneous (Zhang et al. 2014)")


def load_disfa(store: Store, *, size: int | None = None) -> ImageSet:
    """DISFA: the coded frames, labels are subjects; `attributes['AU<k>']` is the intensity 0 to 5 (-1: not coded).

    Needs ActionUnit_Labels/<subject>/<subject>_au<k>.txt (lines `<frame>,<intensity>`, from frame 1) and the frames of
    the videos as .../<folder with the subject's name>/<frame>.<ending>, numbered from 1 or from 0.
    """
    coded: dict[tuple, dict[str, int]] = {}
    for name in store.names:
        if match := re.search(r"ActionUnit_Labels/.*?(SN\d{3})_au(\d+)\.txt$", name):
            for frame, value in _integers(store, name):
                coded.setdefault((match[1], 1, frame), {})[f"AU{match[2]}"] = value
    pattern = re.compile(r"(SN\d{3})[^/]*/\D*(\d+)\.\w+$")
    found = {name: (m[1], int(m[2])) for name in image_files(store) if (m := pattern.search(name))}
    from_zero = {who for who, at in found.values() if at == 0}
    keys = {name: (who, 1, at + (who in from_zero)) for name, (who, at) in found.items()}
    return _coded("disfa", store, keys, coded, size, "DISFA (Mavadati et al. 2013)")


def _integers(store: Store, name: str) -> list[list[int]]:
    """The rows of a table of integers."""
    try:
        return [[int(word) for word in row] for row in csv.reader(io.StringIO(store.text(name))) if row]
    except ValueError:
        raise WorkbookError(f"{name} in {store.label} is not a table of integers: fetch it again.") from None


def _coded(
    name: str, store: Store, keys: dict[str, tuple], coded: dict[tuple, dict[str, int]], size: int | None, credit: str
) -> ImageSet:
    """The frames whose (subject, task, frame) key is coded, with one attribute per action unit."""
    files = [file for file, key in keys.items() if key in coded]
    units = sorted({unit for values in coded.values() for unit in values}, key=lambda unit: int(unit[2:]))
    rows = [coded[keys[file]] for file in files]
    attributes: dict[str, Tensor] = {unit: torch.tensor([row.get(unit, -1) for row in rows]) for unit in units}
    attributes["task"] = torch.tensor([keys[file][1] for file in files])
    people = [keys[file][0] for file in files]
    return from_files(name, ImageFiles(store, files, size=size), people, attributes=attributes, credit=credit)
