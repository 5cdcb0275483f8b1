"""`python -m lib.studies warm`: train what several pages share, once, before they run side by side."""

import argparse

from lib.book.run import choose_device
from lib.studies.recognisers import warm


def main() -> None:
    """Do what the command line asks."""
    top = argparse.ArgumentParser(prog="python -m lib.studies", description=__doc__.split(": ")[1])
    top.add_argument("command", choices=["warm"])
    top.add_argument("--device", default="auto")
    warm(choose_device(top.parse_args().device))


if __name__ == "__main__":
    main()
