"""Train and judge what page 18 needs, ahead of it: `python -m lib.studies.robust_ssl.adversarial.train [names ...]`.

As `lib.studies.robust_ssl.train`; with --list it also estimates the processor minutes of each at the laptop's size.
"""

import sys
import time

import torch

from lib.book.commands import ENVIRONMENT
from lib.book.run import start
from lib.errors import WorkbookError
from lib.studies.robust_ssl.adversarial.self_at_page import judgements
from lib.studies.robust_ssl.adversarial.study import self_at_study_for
from lib.studies.robust_ssl.train import chosen, parser

PAGE = "18_self_adversarial_training"


def main(arguments: list[str] | None = None) -> int:
    """Train, one after the other, and say how long each took."""
    asked = parser("python -m lib.studies.robust_ssl.adversarial.train", __doc__).parse_args(arguments)
    torch.set_num_threads(asked.threads)
    try:
        study = self_at_study_for(start(PAGE, profile=asked.profile, device=asked.device))
        jobs = study.plan() | judgements(study)
        minutes = study.minutes() if asked.list else {}
        for name in chosen(asked.names, list(jobs)):
            if asked.list:
                print(f"{name}: about {minutes[name]:.1f} min" if name in minutes else name)
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
