"""`python -m lib.data doctor`: check the data root. Exit status 1 where a set is damaged, 2 for a wrong command."""

import argparse
import sys
from typing import NoReturn

from lib.data.doctor import doctor, healthy, show
from lib.errors import WorkbookError


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"python -m lib.data: {message}; the one command is 'doctor [--root FOLDER] [--full]'.\n")


def main(words: list[str] | None = None) -> int:
    """Run the command in `words` (default: the command line) and give its exit status."""
    parser = _Parser(prog="python -m lib.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="doctor", parser_class=_Parser)
    check = commands.add_parser("doctor", help="tell which sets are here and whole, and how to get the others")
    check.add_argument("--root", help="the folder to look in (default: WORKBOOK_DATA)")
    check.add_argument("--full", action="store_true", help="read every image of every set found")
    given = parser.parse_args(words)
    try:
        table = doctor(given.root, given.full)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 2
    print(show(table))
    return 0 if healthy(table) else 1


if __name__ == "__main__":
    sys.exit(main())
