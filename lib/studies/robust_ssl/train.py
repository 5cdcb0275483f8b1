"""Train what pages 15 to 17 need, ahead of them: `python -m lib.studies.robust_ssl.train --profile laptop [names ...]`.

Each training is kept, and a killed one goes on from its checkpoint. Two processes may share the work, since a lock
makes the second wait for a training that the first has begun; give them different names.
"""

import argparse
import sys
import time

import torch

from lib.book.commands import ENVIRONMENT
from lib.book.contents import PROFILES
from lib.book.run import start
from lib.errors import WorkbookError, choices
from lib.studies.robust_ssl.study import study_for

PAGE = "15_joint_embedding"


def parser(program: str = "python -m lib.studies.robust_ssl.train", told: str = __doc__) -> argparse.ArgumentParser:
    """The command line of a program whose docstring is `told`."""
    top = argparse.ArgumentParser(prog=program, description=told.splitlines()[0])
    top.add_argument("names", nargs="*", help="trainings by name or by how their names start; default all")
    top.add_argument("--profile", default="laptop", choices=PROFILES)
    top.add_argument("--device", default="auto")
    top.add_argument("--threads", type=int, default=1)
    top.add_argument("--list", action="store_true", help="only list the names")
    return top


def chosen(names: list[str], known: list[str]) -> list[str]:
    """Those of `known` that are named, or whose names start with a given word, in the order of `known`."""
    for name in names:
        if not any(each.startswith(name) for each in known):
            raise WorkbookError(f"There is no training '{name}': choose of {choices(known)}.")
    return [each for each in known if not names or any(each.startswith(name) for name in names)]


def main(arguments: list[str] | None = None) -> int:
    """Train, one after the other, and say how long each took."""
    asked = parser().parse_args(arguments)
    torch.set_num_threads(asked.threads)
    try:
        study = study_for(start(PAGE, profile=asked.profile, device=asked.device))
        jobs = study.plan()
        for name in chosen(asked.names, list(jobs)):
            if asked.list:
                print(name)
                continue
            began = time.monotonic()
            jobs[name]()
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    except WorkbookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    import os

    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    sys.exit(main())
