"""Keep expensive results under a key of their settings, code and data, so that a page re-runs in seconds.

A result is written to a scratch file and renamed, so a kill leaves either the whole result or none; a lock per key
makes a second run wait for the first instead of working twice. Results are plain (tensors, numbers, strings, and
lists, tuples and dicts of these) and are read without executing code.
"""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from lib.dependencies import code_of, is_ours
from lib.errors import WorkbookError
from lib.paths import RUNS, atomic


def digest(*values: Any) -> str:
    """A hash of settings, tensors, models, functions and data sets that is the same in every process."""
    hasher = hashlib.blake2b(digest_size=16)
    for value in values:
        for part in parts(value):
            hasher.update(len(part).to_bytes(8, "little") + part)
    return hasher.hexdigest()


def parts(value: Any) -> list[bytes]:
    """The bytes that identify `value`."""
    if value is None or isinstance(value, bool | int | float | str | bytes | torch.device | torch.dtype | np.generic):
        return [f"{type(value).__name__}:{value!r}".encode()]
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous()
        return [
            f"tensor:{array.dtype}:{tuple(array.shape)}".encode(),
            array.flatten().view(torch.uint8).numpy().tobytes(),
        ]
    if isinstance(value, np.ndarray):
        return [f"array:{value.dtype}:{value.shape}".encode(), np.ascontiguousarray(value).tobytes()]
    if isinstance(value, dict):
        return [
            b"dict",
            *(part for key in sorted(value, key=str) for item in (key, value[key]) for part in parts(item)),
        ]
    if isinstance(value, list | tuple):
        return [type(value).__name__.encode(), *(part for item in value for part in parts(item))]
    return object_parts(value)


def object_parts(value: Any) -> list[bytes]:
    """`parts` of models, data sets, functions and dataclasses."""
    value = inspect.unwrap(value) if callable(value) and not isinstance(value, nn.Module) else value  # a decorator
    if isinstance(getattr(value, "fingerprint", None), str):
        return [f"data:{value.fingerprint}".encode()]
    if isinstance(value, nn.Module):
        state = dict(value.named_parameters()) | dict(value.named_buffers())
        code = sorted({code_of(kind) for kind in map(type, value.modules()) if is_ours(kind)})
        return [f"module:{type(value).__qualname__}:{value!r}".encode(), *parts([state, plain_settings(value), code])]
    if isinstance(value, functools.partial):
        return [b"partial", *parts([value.func, list(value.args), value.keywords])]
    if inspect.isfunction(value) and value.__closure__ is None and "<lambda>" not in value.__qualname__:
        return [f"function:{value.__module__}.{value.__qualname__}:{code_of(value)}".encode()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        code = [code_of(type(value)).encode()] if callable(value) else []  # a loss, a measure: it computes
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return [type(value).__qualname__.encode(), *code, *parts(fields)]
    raise WorkbookError(
        f"A kept result cannot be keyed by a {type(value).__name__}: "
        "pass plain values, tensors, models, data sets or named functions."
    )


def plain_settings(model: nn.Module) -> dict[str, Any]:
    """Numbers, words and flags that the parts of a model hold beside their weights; a `repr` need not show them."""
    return {
        f"{name}.{key}": value
        for name, part in model.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, bool | int | float | str) and key != "training" and not key.startswith("_")
    }


def kept(function: Callable, *args: Any, folder: Path | None = None, where: str | None = "cpu", **settings: Any) -> Any:
    """`function(*args, **settings)`, computed once and read from `folder` (default runs/cache) ever after.

    The key holds the arguments, the definitions that the function, the classes of its models and its losses reach in
    `lib` (`lib.dependencies`), torch's version and `where`, the kind of device: a seed gives other numbers on a GPU.
    where=None leaves out both, for a result that may be computed on one machine and read on another, and says where.
    """
    bound = inspect.signature(function).bind(*args, **settings)
    machine = () if where is None else (torch.__version__, where)
    key = digest(function, dict(bound.arguments), *machine)
    path = (folder or RUNS / "cache") / f"{function.__name__}-{key}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            try:
                return torch.load(path, weights_only=True, map_location="cpu")
            except Exception:  # a damaged file (full disk, bad copy) is as good as none
                path.unlink()
        result = function(*args, **settings)
        with atomic(path) as scratch:
            torch.save(to_cpu(result), scratch)
        return to_cpu(result)


def to_cpu(result: Any) -> Any:
    """The result with every tensor detached and on the CPU; an error for what could not be read back safely."""
    if isinstance(result, Tensor):
        return result.detach().cpu()
    if isinstance(result, dict):
        return {key: to_cpu(value) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return type(result)(to_cpu(value) for value in result)
    if result is None or isinstance(result, bool | int | float | str):
        return result
    raise WorkbookError(
        f"A kept result must be plain (tensors, numbers, strings, lists, dicts), not {type(result).__name__}."
    )
