"""A study's trainings ahead of its pages, from the command line: what the `train` modules of the studies share.

Each training is kept, and a killed one goes on from its checkpoint. Two processes may share the work, since a lock
makes the second wait for a training that the first has begun; give them different names.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lib.book.commands import ENVIRONMENT
from lib.book.contents import PROFILES
from lib.book.run import Run, start
from lib.errors import WorkbookError, choices

Jobs = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Plan:
    """Trainings by name, and what is known of the processor minutes of each (None: nothing)."""

    jobs: Jobs
    minutes: Callable[[str], float | None] = lambda name: None


@dataclass(frozen=True)
class Program:
    """`python -m <module>`: what it is for, the page whose run it starts, and the plan of such a run."""

    module: str
    purpose: str
    page: str
    plan: Callable[[Run], Plan]

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Train what the arguments name, one after the other, and say how long each took; the exit status."""
        asked = self.parser().parse_args(arguments)
        torch.set_num_threads(asked.threads)
        try:
            plan = self.plan(start(self.page, profile=asked.profile, device=asked.device))
            for name in chosen(asked.names, list(plan.jobs)):
                print(listed(name, plan) if asked.list else timed(name, plan.jobs[name]), flush=True)
        except WorkbookError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return 0

    def parser(self) -> argparse.ArgumentParser:
        """The command line."""
        top = argparse.ArgumentParser(prog=f"python -m {self.module}", description=self.purpose)
        top.add_argument("names", nargs="*", help="trainings by name or by how their names start; default all")
        top.add_argument("--profile", default="laptop", choices=PROFILES)
        top.add_argument("--device", default="auto")
        top.add_argument("--threads", type=int, default=1)
        top.add_argument("--list", action="store_true", help="only list the names, with estimated minutes if known")
        return top

    def run(self) -> None:
        """The whole command: the book's environment, `main`, and the exit."""
        for key, value in ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        sys.exit(self.main())


def chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of `known` that are named, or whose names start with a given word, in the order of `known`."""
    for name in names:
        if not any(each.startswith(name) for each in known):
            raise WorkbookError(f"There is no training '{name}': choose of {choices(known)}.")
    return [each for each in known if not names or any(each.startswith(name) for name in names)]


def listed(name: str, plan: Plan) -> str:
    """A training's line of the list."""
    minutes = plan.minutes(name)
    return name if minutes is None else f"{name}: about {minutes:.1f} min"


def timed(name: str, job: Callable[[], object]) -> str:
    """Do the job; its line says how long it took."""
    began = time.monotonic()
    job()
    return f"{name}: {time.monotonic() - began:.0f} s"
