"""Train what page 19 needs, ahead of it: `python -m lib.studies.robust_ssl.astra.train [names ...]`.

As `lib.studies.robust_ssl.train`; page 18's trainings come first. With --list it also estimates the processor minutes
of each at the laptop's size.
"""

import sys
import time

import torch

from lib.book.commands import ENVIRONMENT
from lib.book.run import start
from lib.errors import WorkbookError
from lib.studies.robust_ssl.astra.study import strategy_study_for
from lib.studies.robust_ssl.train import chosen, parser

PAGE = "19_astra"


def main(arguments: list[str] | None = None) -> int:
    """Train, one after the other, and say how long each took."""
    asked = parser("python -m lib.studies.robust_ssl.astra.train", __doc__).parse_args(arguments)
    torch.set_num_threads(asked.threads)
    try:
        study = strategy_study_for(start(PAGE, profile=asked.profile, device=asked.device))
        jobs = study.plan()
        for name in chosen(asked.names, list(jobs)):
            if asked.list:
                print(f"{name}: about {study.minutes_of(name):.1f} min")
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
