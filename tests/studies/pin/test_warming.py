"""What is warmed is what the pages look up: the same functions under the same keys."""

import pytest

from lib import cache
from lib.book.run import start
from lib.data import load
from lib.studies import pin
from lib.studies.pages import crossed_parts, pairs_for
from lib.studies.pin import BASELINE_SIZES, SIZES, warming


@pytest.fixture
def asked(monkeypatch):
    """The (name, keyed arguments) of every kept result, none of which is computed."""
    met = []
    monkeypatch.setattr(warming, "choose", lambda baselines, levels: met.append(("choose", tuple(levels))) or (0.2, 8))
    monkeypatch.setattr(warming, "build_systems", lambda choice: met.append(choice))
    monkeypatch.setattr(warming, "recogniser_for", lambda run, faces, second=False: second)
    monkeypatch.setattr(warming, "Baselines", lambda study, recogniser: (study, recogniser))
    monkeypatch.setattr(warming, "PIN", lambda run, scale, faces, pairs: (scale, pairs))
    return met


def test_warming_asks_for_the_systems_of_all_parts_at_the_runs_sizes(asked):
    warming.warm(start("03_learnable_pca", profile="smoke", device="cpu"))
    level, choice = asked
    scale, pairs = choice.baselines[0]
    assert level == ("choose", tuple(BASELINE_SIZES["levels"]["smoke"]))
    assert (choice.level, choice.reach, choice.second) == (0.2, 8, True)
    assert vars(scale) == {name: row["smoke"] for name, row in (SIZES | BASELINE_SIZES).items()}
    faces = load("lfw", where="embedded")
    (page,) = crossed_parts(pairs_for(faces, scale.pairs), scale.parts)
    assert cache.digest(page) == cache.digest(pairs)


def test_the_command_line_knows_what_is_shared():
    from lib.studies.__main__ import SHARED, main

    assert SHARED["pin"] is pin.warm
    with pytest.raises(SystemExit):
        main(["warm", "nothing"])
