"""Start a training in several processes, one a GPU, from a notebook or a script: accelerate's launchers."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from lib.cache import to_cpu
from lib.errors import WorkbookError
from lib.training.processes import accelerator


def launch(function: Callable, *args: Any, processes: int, **settings: Any) -> Any:
    """`function(*args, **settings)` in each of `processes`, sharing the trainings in it; the first one's result.

    function: of a module, calling `fit` with a recipe whose shards are a multiple of `processes`. Its result is plain,
    as of a kept one. One process a GPU; without one, processes on this CPU. Nothing may have used the GPU before.
    """
    if processes < 1 or (torch.cuda.is_available() and processes > torch.cuda.device_count()):
        raise WorkbookError(
            f"There are {torch.cuda.device_count()} GPUs for {processes} processes: ask for one a GPU, at least one."
        )
    if processes == 1:
        return function(*args, **settings)
    from accelerate import debug_launcher, notebook_launcher  # only here: importing it takes seconds

    start = notebook_launcher if torch.cuda.is_available() else debug_launcher  # the latter is accelerate's for CPUs
    with TemporaryDirectory() as folder:
        path = Path(folder) / "result.pt"
        start(_call, (path, function, args, settings), num_processes=processes)
        return torch.load(path, weights_only=True, map_location="cpu")


def _call(path: Path, function: Callable, args: tuple, settings: dict) -> None:
    accelerator()  # before anything is put on a GPU: it chooses this process's own
    result = function(*args, **settings)
    if int(os.environ.get("RANK", "0")) == 0:
        torch.save(to_cpu(result), path)
