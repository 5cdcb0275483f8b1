"""Each study is one door: its pages import from `lib.studies.<study>` alone, and what it offers is there."""

import importlib
import json
import re

import pytest

from lib.paths import NOTEBOOKS

DOORS = {
    "pin": ("03", "04", "05", "06"),
    "acl_triplet": ("07", "08"),
    "dar_sfrl": ("09", "10", "11"),
    "ancra": ("12", "13", "14"),
    "robust_ssl": ("15", "16", "17", "18", "19"),
}


def imported(page):
    """Modules of studies that the code of a page imports from."""
    (path,) = [*NOTEBOOKS.glob(f"{page}_*.ipynb"), *NOTEBOOKS.glob(f"drafts/{page}_*.ipynb")]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    named = re.findall(r"^from lib\.studies import (\w+)", code, re.M)
    return {f"lib.studies.{name}" for name in named} | set(
        re.findall(r"^from (lib\.studies\.\w+(?:\.\w+)*) import", code, re.M)
    )


@pytest.mark.parametrize("study", DOORS)
def test_what_a_door_offers_is_there(study):
    door = importlib.import_module(f"lib.studies.{study}")
    assert door.__all__ == sorted(door.__all__)
    assert all(hasattr(door, name) for name in door.__all__)


@pytest.mark.parametrize(("study", "page"), [(study, page) for study, pages in DOORS.items() for page in pages])
def test_pages_come_through_the_door(study, page):
    assert imported(page) - {"lib.studies.pages", "lib.studies.recognisers"} == {f"lib.studies.{study}"}
