"""pyproject.toml is the one list: what the book imports is in it, what only tests need is not in the book."""

import ast
import json
import re
import sys
import tomllib
from itertools import chain

import pytest

from lib.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {"scikit-learn": "sklearn", "pillow": "PIL", "umap-learn": "umap", "ipykernel": "IPython"}
OURS = {"lib", "benchmarks", "tests"}


def modules(requirements):
    names = (re.split(r"[<>=\[ ]", line)[0] for line in requirements)
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


def imported(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module.split(".")[0]


def cells(path):
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in found if cell["cell_type"] == "code")


def used(folders):
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    pages = (ROOT / "notebooks").glob("*.ipynb") if "lib" in folders else []
    texts = chain((path.read_text(encoding="utf-8") for path in files), map(cells, pages))
    return set(chain.from_iterable(map(imported, texts))) - set(sys.stdlib_module_names) - OURS


BOOK = modules(PROJECT["dependencies"])
TESTS = modules(PROJECT["optional-dependencies"]["test"])
HTML = {"docutils", "sphinx", "latex2mathml"}  # of the extra html; lib/book/site.py imports them when it builds
INDIRECT = {"cycler", "onnx", "jupyter_client"}  # parts of matplotlib, of onnx2torch and of ipykernel


def test_the_book_imports_what_the_main_list_has():
    assert used(["lib"]) - INDIRECT - HTML <= BOOK


def test_tests_and_benchmarks_import_what_both_lists_have():
    assert used(["tests", "benchmarks"]) - INDIRECT <= BOOK | TESTS


@pytest.mark.parametrize("name", ["torchattacks", "kornia", "pytorch_metric_learning", "hypothesis"])
def test_the_extra_holds_no_package_for_nothing(name):
    assert name in TESTS & used(["tests", "benchmarks"])


@pytest.mark.parametrize("name", ["lightly", "torchmetrics"])
def test_the_kept_libraries_serve_the_book(name):
    assert name in BOOK & used(["lib"])
