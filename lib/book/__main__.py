"""`python -m lib.book run|publish|scoreboard|grade|html|kernel`."""

import sys

from lib.book.commands import main

if __name__ == "__main__":
    sys.exit(main())
