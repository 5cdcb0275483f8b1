"""`python -m lib.data`: check the data root (doctor), fill it (fetch), find the faces in own photographs (align).

Exit status 1 where a set is damaged, 2 for a wrong command or input.
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from lib.data.doctor import doctor, healthy, show
from lib.data.folders import align_folder
from lib.data.loading import fetch, locate
from lib.data.photos import CHOICES, LIST
from lib.data.registry import PAGES, SETS
from lib.errors import WorkbookError
from lib.paths import data_root

COMMANDS = "doctor [--root FOLDER] [--full], fetch [NAME...] [--root FOLDER], align PHOTOS OUT [--choose CHOICE]"


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"python -m lib.data: {message}; the commands are {COMMANDS}.\n")


def parser() -> argparse.ArgumentParser:
    """The command line; without a command it is the doctor."""
    made = _Parser(prog="python -m lib.data", description=__doc__)
    commands = made.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    check = commands.add_parser("doctor", help="tell which sets are here and whole, and how to get the others")
    check.add_argument("--root", help="the folder to look in (default: WORKBOOK_DATA)")
    check.add_argument("--full", action="store_true", help="read every image of every set found")
    check.set_defaults(run=run_doctor)
    get = commands.add_parser("fetch", help="download the sets that the pages want and the data root lacks")
    get.add_argument("names", nargs="*", metavar="NAME", help="sets to fetch (default: all that pages want)")
    get.add_argument("--root", help="the folder to put them in (default: WORKBOOK_DATA)")
    get.set_defaults(run=run_fetch)
    align = commands.add_parser("align", help="find the face in each photograph and write it as a 112x112 crop")
    align.add_argument("photos", help="a folder (or zip) of photographs, as person/file.jpg or person_1.jpg")
    align.add_argument("out", help="the folder to write person/file.png to")
    align.add_argument("--choose", default=CHOICES[0], choices=CHOICES, help="which face of a picture is meant")
    align.set_defaults(run=run_align)
    return made


def run_doctor(given: argparse.Namespace) -> int:
    """Print the doctor's table."""
    table = doctor(given.root, given.full)
    print(show(table))
    return 0 if healthy(table) else 1


def run_fetch(given: argparse.Namespace) -> int:
    """Fetch sets, and say of every other set that pages want how to get it by hand."""
    (Path(given.root).expanduser() if given.root else data_root()).mkdir(parents=True, exist_ok=True)
    failed = False
    for name in given.names or [name for name in PAGES if SETS[name].files]:
        try:
            if SETS.get(name) and (found := locate(name, given.root)):
                print(f"{name}: here already, {found[1]}")
            elif name in SETS and not SETS[name].fetch:
                print(f"{name}: not to be downloaded; {SETS[name].ask}")
            else:
                print(f"{name}: here now, {fetch(name, given.root).name}")
        except WorkbookError as error:
            failed = True
            print(f"{name}: {error}", file=sys.stderr)
    return int(failed)


def run_align(given: argparse.Namespace) -> int:
    """Align a folder of photographs and say what was found."""
    found = align_folder(given.photos, given.out, given.choose)
    print(found.told() + (f" They are listed in {given.out}/{LIST}." if found.without_face else ""))
    return 0


def main(words: list[str] | None = None) -> int:
    """Run the command in `words` (default: the command line) and give its exit status."""
    words = sys.argv[1:] if words is None else words
    given = parser().parse_args(words or ["doctor"])
    try:
        return given.run(given)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
