"""The rooms of lib import one way only."""

import ast

import pytest

from lib.paths import ROOT

ORDER = [
    ["errors"],
    ["paths", "seeds"],
    ["papers"],
    ["cache", "progress", "contents"],
    ["ledger"],
    ["plots"],
    ["run"],
    ["widgets"],
    ["data"],
    ["models"],
    ["attacks"],
    ["defences"],
    ["training"],
    ["evaluation"],
    ["scoreboard"],
    ["book"],
]
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
FILES = sorted(path for path in (ROOT / "lib").rglob("*.py") if path != ROOT / "lib" / "__init__.py")


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "lib":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lib."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("lib."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    own = path.relative_to(ROOT / "lib").parts[0].removesuffix(".py")
    for room in imported_rooms(path):
        assert room == own or RANK[room] < RANK[own], f"{own} imports {room}, which stands after it"
