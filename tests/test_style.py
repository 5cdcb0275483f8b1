"""Functions of lib take few parameters: what travels together is one object."""

import ast

import pytest

from lib.paths import ROOT

MOST = 6
# function -> why it may take more
EXCEPTIONS = {
    "lib/training/loop.py: fit": (
        "model, loss, examples and recipe are what is trained, the rest is optional and by name; "
        "its code keys every checkpoint and kept training, so it is not reshaped for looks"
    ),
    "lib/studies/dar_sfrl/training.py: train_dar": "a kept training, whose key its parameters are",
}


def parameters(function):
    """Names of the parameters that a caller may give, without self or cls, *arguments and **options."""
    given = function.args
    names = [parameter.arg for parameter in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return names[1:] if names[:1] in (["self"], ["cls"]) else names


def too_many(code):
    """Functions, methods and constructors of a module's code with more than `MOST` parameters."""
    functions = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [function.name for function in functions if len(parameters(function)) > MOST]


def test_at_most_six_parameters():
    paths = sorted((ROOT / "lib").rglob("*.py"))
    found = [
        f"{path.relative_to(ROOT).as_posix()}: {name}"
        for path in paths
        for name in too_many(path.read_text(encoding="utf-8"))
    ]
    assert sorted(found) == sorted(EXCEPTIONS)  # an exception that is no longer needed goes as well


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def six(a, b, c, /, d, *, e, f=1): ...", []),
        ("def seven(a, b, c, /, d, *, e, f=1, g=2): ...", ["seven"]),
        ("def open(a, b, c, d, e, f, *rest, **options): ...", []),
        ("class A:\n    def __init__(self, a, b, c, d, e, f): ...", []),
        ("class A:\n    def __init__(self, a, b, c, d, e, f, g): ...", ["__init__"]),
        ("class A:\n    @classmethod\n    async def of(cls, a, b, c, d, e, f, g): ...", ["of"]),
        ("def outer():\n    def inner(a, b, c, d, e, f, g): ...", ["inner"]),
    ],
)
def test_parameters_are_counted_as_a_caller_sees_them(code, found):
    assert too_many(code) == found
