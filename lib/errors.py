"""The one error a reader of the book ever sees: a sentence that says what was expected, what came and what to do."""


class WorkbookError(Exception):
    """Bad input, told in one sentence. In a notebook it shows as that sentence, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"{type(self).__name__}: {self}"]


class MissingData(WorkbookError):
    """A data set that is neither in the data root nor to be downloaded; a page may go on without it."""


def choices(names: list[str] | tuple[str, ...]) -> str:
    """`['a', 'b']` as the words 'a, b' for an error sentence."""
    return ", ".join(str(name) for name in names)
