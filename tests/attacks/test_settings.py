import pytest
import torch

from lib.attacks import PGD, RANDOM, Settings
from lib.attacks.budgets import Linf
from lib.attacks.diversity import diversify
from lib.errors import WorkbookError
from tests.attacks.small import pictures


@pytest.mark.parametrize(
    ("step", "expected"),
    [("2/255", 2 / 255), (0.007, 0.007), ("eps", 0.08), ("eps/4", 0.02), ("2.5*eps/20", 0.01), ("2 * eps", 0.16)],
)
def test_steps_are_read(step, expected):
    region = Linf(0.08).around(pictures(2))
    assert Settings(step=step).step_size(region.clean, region.radius).flatten()[0].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    "change",
    [{"rule": "up"}, {"keep": "all"}, {"start": 1}, {"steps": -1}, {"eot": 0}, {"restarts": 0}, {"diversity": 2.0}],
)
def test_bad_settings_are_told(change):
    with pytest.raises(WorkbookError):
        PGD.but(**change)


def test_an_unknown_setting_is_told():
    with pytest.raises(WorkbookError, match="no setting alpha"):
        PGD.but(alpha=0.1)


def test_counts_and_rows():
    settings = PGD.but(steps=torch.tensor([1, 5, 3]), step=torch.tensor([0.1, 0.2, 0.3]))
    assert settings.count == 5
    assert settings.rows(slice(0, 1)).count == 1
    assert settings.rows(torch.tensor([2])).step.item() == pytest.approx(0.3)


def test_diversity_keeps_the_shape_and_fires_as_often_as_asked():
    x, generator = pictures(2), torch.Generator().manual_seed(0)
    settings = PGD.but(diversity=0.3, resize_rate=0.7)
    looks = [diversify(x, settings, generator) for _ in range(300)]
    assert all(look.shape == x.shape for look in looks)
    assert sum(not torch.equal(look, x) for look in looks) / 300 == pytest.approx(0.3, abs=0.08)


def test_no_steps_are_no_attack_but_for_the_random_search():
    for settings in (PGD, PGD.but(keep="best", start="clean")):
        with pytest.raises(WorkbookError, match="0 steps attacks nothing"):
            settings.but(steps=0)
    assert RANDOM.but(restarts=5).count == 0
    assert PGD.but(steps=torch.tensor([0, 2])).count == 2  # some images may be left alone
