"""The rooms of lib import one way only, and the core knows neither pages nor sources."""

import ast
import re

import pytest

from lib.paths import ROOT

ORDER = [
    ["errors"],
    ["paths", "seeds", "interval"],
    ["progress", "dependencies"],
    ["cache"],
    ["papers"],
    ["book"],
    ["data"],
    ["transforms"],
    ["models"],
    ["losses"],
    ["attacks"],
    ["defences"],
    ["training"],
    ["evaluation"],
    ["studies"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = sorted(path for path in (ROOT / "lib").rglob("*.py") if path != ROOT / "lib" / "__init__.py")
CORE = [path for path in FILES if path.relative_to(ROOT / "lib").parts[0] not in ("studies", "papers", "book")]
STUDIES = {path.name for path in (ROOT / "lib" / "studies").iterdir() if path.is_dir() and path.name[0] != "_"}
SOURCES = re.compile(r"\b(PIN|ANCRA|ACL|DAR|ASTRA)_|_(PIN|ANCRA)\b")  # constants that only one source could have


def imports(path):
    """(module, names) of every import of lib's own modules."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lib":
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if alias.name.split(".")[0] == "lib")


def imported_rooms(path):
    for module, names in imports(path):
        yield from [module.split(".")[1]] if "." in module else names


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")
    for room in imported_rooms(path):
        assert room == own or RANK[room] < RANK[own], f"{own} imports {room}, which stands after it"


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name in STUDIES], ids=named)
def test_studies_do_not_import_each_other(path):
    for module, _ in imports(path):
        study = module.split(".")[2] if module.startswith("lib.studies.") else path.parent.name
        assert study not in STUDIES or study == path.parent.name


@pytest.mark.parametrize("path", CORE, ids=named)
def test_the_core_knows_no_page_and_no_source(path):
    text = path.read_text(encoding="utf-8")
    assert not [names for module, names in imports(path) if module == "lib.book.run" or "Run" in names]
    assert not SOURCES.search(text)
