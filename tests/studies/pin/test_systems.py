"""The registered systems of PIN: every name of the tables, with threats that make sense for it."""

import pytest

from lib.attacks.registry import KNOWLEDGE
from lib.defences.registry import SYSTEMS, System, named_system, register_system
from lib.errors import WorkbookError
from lib.studies.pin import BASELINES, OFFLINE_ONLY, RANDOM_SYSTEMS, shown_name
from lib.studies.pin.systems import NAMES


def test_every_baseline_and_pin_itself_are_registered_as_recognisers():
    assert {"none", *BASELINES, "PIN", "PIN without DAE"} <= set(NAMES) <= set(SYSTEMS)
    assert {SYSTEMS[name].kind for name in NAMES} == {"recogniser"}


def test_threats_follow_from_what_a_system_is():
    for name in NAMES:
        system = named_system(name)
        assert system.random == ("adaptive" in system.threats) == (name in RANDOM_SYSTEMS)
        assert ("white box" in system.threats) == (name not in OFFLINE_ONLY)
        assert set(system.threats) <= set(KNOWLEDGE)


def test_projections_are_shown_with_their_count():
    assert [shown_name(name, 2500) for name in ("PCA, few", "PCA, many", "PIN")] == ["PCA-200", "PCA-2000", "PIN"]
    assert shown_name("PCA, few", 100) == "PCA-8"


def test_names_are_unique_and_unknown_ones_told():
    with pytest.raises(WorkbookError, match="no system 'PIM'"):
        named_system("PIM")
    with pytest.raises(WorkbookError, match="already"):
        register_system(System("PIN", "recogniser", KNOWLEDGE, "Another one.", lambda source: source))
