"""`python -m lib.studies warm NAME`: train what several pages share, once, before they run side by side."""

import argparse
import contextlib
import io
import time

from lib.book.run import start
from lib.studies import pin, recognisers
from lib.studies.acl_triplet import warming as acl_triplet
from lib.studies.ancra import warming as ancra

# what is trained, by name
SHARED = {
    "recognisers": recognisers.warm,
    "pin": pin.warm,
    "acl_triplet": acl_triplet.warm,
    "ancra": ancra.warm,
}
PAGE = "03_learnable_pca"  # whose run the trainings borrow; any page of these faces would do


def main(arguments: list[str] | None = None) -> None:
    """Do what the command line asks: train at smoke what the pages that share it would all wait for."""
    top = argparse.ArgumentParser(prog="python -m lib.studies", description=__doc__.split(": ")[1])
    top.add_argument("command", choices=["warm"])
    top.add_argument("name", choices=list(SHARED))
    top.add_argument("--device", default="auto")
    asked = top.parse_args(arguments)
    begun = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):  # the banner of a page that is not run
        SHARED[asked.name](start(PAGE, profile="smoke", device=asked.device))
    print(f"shared: {asked.name} trained   {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
