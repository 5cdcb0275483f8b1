"""What a page asks for: its faces under the profile's rules, and the pairs it tests on."""

import torch
from torch import LongTensor

from lib.book.run import Run
from lib.data.loading import load
from lib.data.pairs import make_pairs, without_people
from lib.data.sets import ImageSet, Pairs
from lib.errors import WorkbookError

DRAWN = 4000  # pairs of each kind drawn from the labels of a set that has no official list


def for_page(run: Run, name: str, **options: object) -> ImageSet:
    """The set `name` as the page's `data` parameter and profile want it; notes it in the ledger.

    data='auto': the real set, or at smoke its embedded stand-in; 'embedded': that stand-in; else a set's name.
    A real set that is missing is an error, never a silent fall back. options: passed to a real set's loader.
    """
    rehearsal = run.data == "embedded" or (run.data == "auto" and run.smoke)
    try:
        if rehearsal:
            images = load(name, where="embedded")
        else:
            images = load(name if run.data == "auto" else run.data, **options)
    except WorkbookError as error:
        raise WorkbookError(f"{error} For a rehearsal without data use profile='smoke' or data='embedded'.") from None
    run.uses("data", images.source)
    return images


def shown_faces(run: Run) -> ImageSet:
    """Faces that may be drawn: the London set (CC BY) aligned to 112x112, or the procedural ones; see their `credit`.

    Every figure of a face names the credit, so a reader sees which it was.
    """
    if not run.smoke and run.data != "embedded" and (found := _london()):
        run.uses("data", f"{found.source} (pictures only)")
        return found
    return load("procedural")


def _london() -> ImageSet | None:
    try:
        return load("london", where="root", size=112)
    except WorkbookError:
        return None


def official_pairs(images: ImageSet) -> Pairs:
    """The first official list of pairs of a set, else pairs drawn from its labels (always the same ones)."""
    if images.pairs:
        return next(iter(images.pairs.values()))
    counts = images.labels.unique(return_counts=True)[1]
    possible = int((counts * (counts - 1) // 2).sum())
    n = min(DRAWN, possible)
    return make_pairs(images.labels, n, n, seed=0)


def other_people(images: ImageSet, pairs: Pairs, most: int) -> LongTensor:
    """Up to `most` images of people who occur in none of `pairs`, evenly spaced: to fit on, not to test on."""
    found = without_people(images, pairs)
    if not len(found):
        raise WorkbookError(f"Every person of '{images.name}' occurs in the test pairs: ask for fewer pairs.")
    return found[torch.arange(most) * len(found) // most] if len(found) > most else found


def crossed_parts(pairs: Pairs, parts: int) -> list[Pairs]:
    """Cut pairs into `parts` by their folds, for cross-fitting: what tests one part may be fitted on the others."""
    share = pairs.fold * parts // (int(pairs.fold.max()) + 1)
    return [pairs.take(share == part) for part in range(parts)]
