"""What code a result depends on: the definitions that a function or class reaches, and no others.

Names are resolved on the syntax tree, through imports and re-exports, within the package of the code in question.
Comments, docstrings and annotations do not count; code of other packages counts by its name (its version is a
setting of the environment).
"""

import ast
import functools
import hashlib
import importlib.util
import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.paths import ROOT

Place = tuple[str, str]  # a module and a name in it; the name "" is the whole module
# Modules that show, store or find things: a change there cannot change a measured number.
NO_NUMBERS = ("errors", "paths", "papers", "book", "progress", "cache", "dependencies")


@dataclass(frozen=True)
class Module:
    """A parsed module: its statements by the name they bind or change, and where its imported names come from."""

    definitions: dict[str, tuple[ast.stmt, ...]]
    imports: dict[str, Place]


def code_of(thing: object) -> str:
    """A hash of a function or class and of every definition that it reaches within its package."""
    module = thing.__module__
    name = thing.__qualname__.split(".")[0]
    if "." not in module or _file(module) is None:  # a notebook, a script, a test
        return _loose_code(thing)
    return _code_at(module, name)


def is_ours(thing: object) -> bool:
    """Whether `thing` is code of this project, and not of a library that it installs."""
    file = _file(thing.__module__)
    return file is None or "site-packages" not in file.parts


def _loose_code(thing: object) -> str:
    """The source of a function outside any package, and the code of what it names."""
    source = inspect.getsource(thing)
    reached = [getattr(thing, "__globals__", {}).get(name) for name in getattr(thing, "__code__", thing).co_names]
    ours = [part for part in reached if inspect.isfunction(part) or inspect.isclass(part)]
    named = sorted(code_of(part) for part in ours if "." in part.__module__ and is_ours(part))
    return _hash([source, *named])


@functools.cache
def _code_at(module: str, name: str) -> str:
    return _hash(sorted((place, _dump(place)) for place in reached_from((module, name))))


def reached_from(start: Place) -> set[Place]:
    """Every definition within the package that `start` reaches, itself included."""
    package = start[0].split(".")[0]
    seen = set()
    todo = [start]
    while todo:
        place = todo.pop()
        if place in seen or not _counts(place, package):
            continue
        seen.add(place)
        todo += _named_by(*place)
    return seen


def _counts(place: Place, package: str) -> bool:
    parts = place[0].split(".")
    return parts[0] == package and (package != "lib" or len(parts) < 2 or parts[1] not in NO_NUMBERS)


@functools.cache
def _named_by(module: str, name: str) -> list[Place]:
    """The places that the definition `name` of `module` names directly."""
    known = parsed(module)
    if not name:
        return [(module, own) for own in known.definitions]
    found = []
    for statement in known.definitions.get(name, ()):
        local = {alias: place for node in ast.walk(statement) for alias, place in _imported(node, module)}
        imports = known.imports | local
        for names in _chains(statement):
            found += _resolve(names, module, known.definitions, imports)
    return found if name in known.definitions else list(_followed(known.imports.get(name)))


def _resolve(names: list[str], module: str, definitions: dict, imports: dict[str, Place]) -> list[Place]:
    """Where a dotted chain of names leads: a definition here, one imported, or one of an imported module."""
    if names[0] in definitions:
        return [(module, names[0])]
    place = _as_module(imports.get(names[0]))
    while place and not place[1] and len(names) > 1 and _file(f"{place[0]}.{names[1]}"):
        place = (f"{place[0]}.{names[1]}", "")
        names = names[1:]
    if place and not place[1] and len(names) > 1:
        place = (place[0], names[1])
    return list(_followed(place))


def _as_module(place: Place | None) -> Place | None:
    """`from package import module` names a module, not a definition of the package; a package may do so itself."""
    if place and place[1] and _file(f"{place[0]}.{place[1]}") and _file(place[0]):
        own = parsed(place[0])
        if place[1] not in own.definitions and own.imports.get(place[1], place) == place:
            return f"{place[0]}.{place[1]}", ""
    return place


def _followed(place: Place | None) -> Iterator[Place]:
    """The place itself, or what an imported name stands for where it is one (re-exports)."""
    if place is None or _file(place[0]) is None or "site-packages" in _file(place[0]).parts:
        return
    module, name = place
    known = parsed(module)
    if name and name not in known.definitions and known.imports.get(name, place) != place:
        yield from _followed(known.imports[name])
    elif name and name not in known.definitions and _file(f"{module}.{name}"):
        yield f"{module}.{name}", ""
    else:
        yield place


def _chains(statement: ast.AST) -> Iterator[list[str]]:
    """Every dotted chain of names in a statement: `a.b.c` as ['a', 'b', 'c']."""
    inner = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner:
            names = []
            part = node
            while isinstance(part, ast.Attribute):
                names.append(part.attr)
                part = part.value
                inner.add(id(part))
            if isinstance(part, ast.Name):
                yield [part.id, *reversed(names)]


@functools.cache
def parsed(module: str) -> Module:
    """The definitions and imports of a module, from its file."""
    tree = _Bare().visit(ast.parse(_file(module).read_text(encoding="utf-8")))
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, Place] = {}
    for statement in tree.body:
        imports |= {alias: place for node in ast.walk(statement) for alias, place in _top_import(node, module, tree)}
        for name in _bound(statement):
            definitions.setdefault(name, []).append(statement)
    return Module({name: tuple(parts) for name, parts in definitions.items()}, imports)


def _top_import(node: ast.AST, module: str, tree: ast.Module) -> list[tuple[str, Place]]:
    return _imported(node, module) if node in tree.body else []


def _imported(node: ast.AST, module: str) -> list[tuple[str, Place]]:
    """What an import statement binds: (name, where it comes from)."""
    if isinstance(node, ast.Import):
        return [(alias.asname or alias.name.split(".")[0], _whole(alias)) for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            here = module.split(".") if _file(module).name == "__init__.py" else module.split(".")[:-1]
            base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])])
        return [(alias.asname or alias.name, (base, alias.name)) for alias in node.names]
    return []


def _whole(alias: ast.alias) -> Place:
    return (alias.name if alias.asname else alias.name.split(".")[0], "")


def _bound(statement: ast.stmt) -> set[str]:
    """Names that a statement of a module binds or changes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return set()
    stored = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return stored | {name for node in ast.walk(statement) for name in _changed(node)}


def _changed(node: ast.AST) -> set[str]:
    """The name whose object `X[...] = ...`, `X.a = ...` or `X.method(...)` changes in place."""
    part = node.func if isinstance(node, ast.Call) else node
    stores = isinstance(getattr(node, "ctx", None), ast.Store)
    if not isinstance(part, ast.Attribute | ast.Subscript) or not (stores or isinstance(node, ast.Call)):
        return set()
    while isinstance(part, ast.Attribute | ast.Subscript):
        part = part.value
    return {part.id} if isinstance(part, ast.Name) else set()


class _Bare(ast.NodeTransformer):
    """Takes away what computes nothing: docstrings and annotations."""

    def visit(self, node: ast.AST) -> ast.AST:
        """Strip a node and what it holds."""
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _dump(place: Place) -> str:
    module, name = place
    return "".join(ast.dump(statement) for statement in parsed(module).definitions.get(name, ()))


def _hash(value: object) -> str:
    return hashlib.sha1(json.dumps(value).encode()).hexdigest()


@functools.cache
def _file(module: str) -> Path | None:
    """The file of a module, if it is one and has one. Our own are looked up, which imports nothing."""
    if module.split(".")[0] == "lib":
        place = ROOT.joinpath(*module.split("."))
        return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def page_inputs(notebook: Path) -> list[str]:
    """The files of `lib` that a notebook's imports reach, as paths from the root: what Snakemake watches."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    seen: set[str] = set()
    todo = [module for node in ast.walk(ast.parse(code)) for module in _modules(node, "")]
    while todo:
        module = todo.pop()
        if module not in seen:
            seen.add(module)
            todo += [part for node in ast.walk(_tree(module)) for part in _modules(node, module)]
    files = {_file(module) for module in seen}
    data = [path for path in (ROOT / "lib" / "papers").iterdir() if path.suffix in (".csv", ".toml")]
    return sorted(str(path.relative_to(ROOT)) for path in files | set(data))


def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _modules(node: ast.AST, module: str) -> list[str]:
    """Modules of lib that an import statement loads, the packages above them included."""
    places = _imported(node, module) if isinstance(node, ast.Import | ast.ImportFrom) else []
    names = [f"{base}.{name}" if name else base for _, (base, name) in places]
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    steps = [".".join(name.split(".")[: end + 1]) for name in names for end in range(len(name.split(".")))]
    return [step for step in steps if step.split(".")[0] == "lib" and _file(step)]
