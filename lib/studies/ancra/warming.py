"""What pages 12 to 14 share, trained once before they run side by side."""

from types import SimpleNamespace

from lib.book.run import Run
from lib.studies.ancra.study import METHODS, SIZES, ANCRAStudy, pictures_for


def warm(run: Run) -> None:
    """Train and keep every method with every seed, at the sizes of the run's profile."""
    scale = SimpleNamespace(**{name: row[run.profile] for name, row in SIZES.items()})
    study = ANCRAStudy(run, scale, pictures_for(run, scale))
    for name in METHODS:
        study.models(name, scale.seeds)
