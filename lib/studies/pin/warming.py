"""What pages 03 to 06 share, trained once before they run side by side."""

from types import SimpleNamespace

from lib.book.run import Run
from lib.studies.pages import crossed_parts, for_page, pairs_for
from lib.studies.pin.baselines import BASELINE_SIZES, Baselines
from lib.studies.pin.study import PIN, SIZES
from lib.studies.pin.systems import Choice, build_systems, choose
from lib.studies.recognisers import recogniser_for


def warm(run: Run) -> None:
    """Train and keep PIN's denoiser and agents and the networks of its baselines, as pages 03 to 06 ask for them.

    The run's profile gives the sizes. The settings that are chosen on held-out pairs are kept as well.
    """
    scale = SimpleNamespace(**{name: row[run.profile] for name, row in (SIZES | BASELINE_SIZES).items()})
    faces = for_page(run, "lfw")
    recogniser = recogniser_for(run, faces)
    second = recogniser_for(run, faces, second=True)
    for pairs in crossed_parts(pairs_for(faces, scale.pairs), scale.parts):
        baselines = Baselines(PIN(run, scale, faces, pairs), recogniser)
        level, reach = choose(baselines, scale.levels)
        build_systems(Choice(baselines, level, reach, second))
