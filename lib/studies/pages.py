"""What a page asks for: its faces under the profile's rules, and the pairs it tests on."""

from pathlib import Path

import torch
from torch import LongTensor

from lib.book.run import Run
from lib.data.folders import own_faces, with_others
from lib.data.loading import load, locate
from lib.data.pairs import make_pairs, make_pairs_apart, without_people
from lib.data.registry import SETS
from lib.data.sets import ImageSet, Pairs
from lib.errors import MissingData, WorkbookError
from lib.paths import ROOT

OWN = "folder:"  # what data='folder:PATH' begins with
DRAWN = 4000  # pairs of each kind drawn from the labels of a set that has no official list


def for_page(run: Run, name: str, *, others: bool = True, **options: object) -> ImageSet:
    """The set `name` as the page's `data` parameter and profile want it; notes it in the ledger.

    data='auto': the real set, or at smoke its embedded stand-in; 'embedded': that stand-in; 'folder:PATH': one's own
    faces (`lib.data.own_faces`); else a set's name. A real set that is missing is an error, never a silent fall back.
    others: whether people to fit on follow one's own faces (at smoke embedded ones, else those of the set `name` where
    the data root has it). options: passed to a real set's loader.
    """
    rehearsal = run.data == "embedded" or (run.data == "auto" and run.smoke)
    if run.data.startswith(OWN):
        images = _own(run, name, others)
    else:
        try:
            if rehearsal:
                images = load(name, where="embedded")
            else:
                images = load(name if run.data == "auto" else run.data, **options)
        except WorkbookError as error:
            hint = "For a rehearsal without data use profile='smoke' or data='embedded'."
            raise type(error)(f"{error} {hint}") from None
    run.uses("data", images.source)
    return images


def _own(run: Run, name: str, others: bool) -> ImageSet:
    """The reader's own faces in place of the set `name`."""
    if SETS[name].stand_in[0] != "procedural":
        raise WorkbookError(f"This page classifies the things of '{name}', so data='{OWN}PATH' cannot serve it.")
    images = own_faces(ROOT / Path(run.data.removeprefix(OWN)).expanduser())  # relative: from the checkout
    if images.left_out:
        run.say(f"{len(images.left_out)} pictures show no face and are left out: {', '.join(images.left_out[:10])}.")
    if others and (run.smoke or locate(name)):
        images = with_others(images, load(name, where="embedded" if run.smoke else "root"))
    return images


def load_or_reason(run: Run, name: str, **options: object) -> tuple[ImageSet | None, str]:
    """A set that only a section needs, or None and the reason, which the page shows in one line before it goes on.

    The reason is also the `note` of cells that stay unmeasured: `run.record(..., None, note=reason)`. It is a set that
    cannot be had, or one's own faces in place of a page's first set. A damaged set is an error, as in `for_page`.
    """
    if run.data.startswith(OWN):
        reason = f"needs the set '{name}', and this run is on one's own faces"
    else:
        try:
            return for_page(run, name, **options), ""
        except MissingData as error:
            reason = str(error)
    run.say(f"*This section is left out: {reason}*")
    return None, reason


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
    """The first official list of pairs of a set, else pairs drawn from its labels (always the same ones).

    Pairs of one's own folder are drawn so that folds share no person: such a set is small, and a page that fits on some
    people and tests on others needs both.
    """
    if images.pairs:
        return next(iter(images.pairs.values()))
    if images.source.startswith(OWN):
        own = images.splits.get("own", slice(None))  # they come first, so positions are the same
        return make_pairs_apart(images.labels[own], DRAWN, seed=0)
    counts = images.labels.unique(return_counts=True)[1]
    possible = int((counts * (counts - 1) // 2).sum())
    n = min(DRAWN, possible)
    return make_pairs(images.labels, n, n, seed=0)


def pairs_for(images: ImageSet, most: int) -> Pairs:
    """`most` of a set's `official_pairs`, evenly spaced and half of them genuine; all it has where those are fewer."""
    pairs = official_pairs(images)
    genuine = int(pairs.same.sum())
    return pairs.thin(min(most, 2 * min(genuine, len(pairs) - genuine)))


def other_people(images: ImageSet, pairs: Pairs, most: int) -> LongTensor:
    """Up to `most` images of people who occur in none of `pairs`, evenly spaced: to fit on, not to test on."""
    found = without_people(images, pairs)
    if not len(found):
        raise WorkbookError(
            f"Every person of '{images.name}' occurs in the test pairs, and nobody is left to fit on: ask for fewer "
            "pairs; for one's own folder, fetch the page's own set too (`python -m lib.data fetch lfw`)."
        )
    return found[torch.arange(most) * len(found) // most] if len(found) > most else found


def crossed_parts(pairs: Pairs, parts: int) -> list[Pairs]:
    """Cut pairs into `parts` by their folds, for cross-fitting: what tests one part may be fitted on the others."""
    share = pairs.fold * parts // (int(pairs.fold.max()) + 1)
    return [pairs.take(share == part) for part in range(parts)]
