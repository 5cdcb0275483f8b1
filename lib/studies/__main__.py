"""`python -m lib.studies warm NAME`: train what several pages share, once, before they run side by side."""

import argparse

from lib.book.run import start
from lib.studies import pin, recognisers

SHARED = {"recognisers": recognisers.warm, "pin": pin.warm}  # what is trained, by name
PAGE = "03_learnable_pca"  # whose run the trainings borrow; any page of these faces would do


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line asks: train at smoke what the pages that share it would all wait for."""
    top = argparse.ArgumentParser(prog="python -m lib.studies", description=__doc__.split(": ")[1])
    top.add_argument("command", choices=["warm"])
    top.add_argument("name", choices=list(SHARED))
    top.add_argument("--device", default="auto")
    asked = top.parse_args(arguments)
    SHARED[asked.name](start(PAGE, profile="smoke", device=asked.device))


if __name__ == "__main__":
    main()
