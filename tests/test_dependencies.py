import importlib
import itertools
import subprocess
import sys

import pytest
import torch
from torch import nn

from lib import dependencies
from lib.cache import digest
from lib.defences.tvm import TotalVariation
from lib.dependencies import code_of, page_inputs, reached_from
from lib.paths import NOTEBOOKS, ROOT

SOURCE = {
    "__init__": "from {name}.work import entry\n",
    "work": '''"""Work."""
from torch import nn

from {name} import helpers
from {name}.doors import through

LEVEL = 2
TABLE = {{}}
TABLE["a"] = 1
UNUSED = 1


def entry(x, factor=LEVEL):
    """Say something."""
    inner = helpers.double(x)  # a comment
    return through(inner) * factor + TABLE["a"]


def bystander(x):
    return x - UNUSED


class Base(nn.Module):
    def shared(self, x):
        return x + 1


class Nested(Base):
    def forward(self, x):
        return self.shared(x)
''',
    "helpers": "def double(x):\n    return 2 * x\n\n\ndef other(x):\n    return x\n",
    "doors": "from {name}.rooms import through\n\n__all__ = ['through']\n",
    "rooms": "DEPTH = 3\n\n\ndef through(x):\n    return x + DEPTH\n",
}
COUNTER = itertools.count()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Writes the package anew under another name, with changes {(module, old): new}, and gives the digest of its parts.

    Names differ from copy to copy, so they are put alike before anything is compared.
    """
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(changes=None):
        name = f"scratch{next(COUNTER):03d}"
        (tmp_path / name).mkdir()
        for module, text in SOURCE.items():
            for (where, old), new in (changes or {}).items():
                assert where != module or old in text
                text = text.replace(old, new) if where == module else text
            (tmp_path / name / f"{module}.py").write_text(text.format(name=name))
        importlib.invalidate_caches()
        importlib.import_module(name)
        reached = sorted(reached_from((f"{name}.work", "entry")))
        return [(place[0].replace(name, "scratch"), place[1], dependencies._dump(place)) for place in reached]

    return written


@pytest.mark.parametrize(
    "change",
    [
        {("work", "UNUSED = 1"): "UNUSED = 7"},
        {("work", "def bystander(x):"): "NEW = 5\n\n\ndef bystander(x):"},
        {("work", "return x - UNUSED"): "return x * UNUSED"},
        {("helpers", "return x\n"): "return x + 1\n"},
        {("work", "# a comment"): "# another"},
        {("work", '"""Say something."""'): '"""Say something else."""'},
        {("doors", "__all__"): "MORE = 1\n\n__all__"},
    ],
    ids=lambda change: next(iter(change))[1],
)
def test_what_a_function_does_not_reach_changes_nothing(package, change):
    assert package() == package(change)


@pytest.mark.parametrize(
    "change",
    [
        {("work", "LEVEL = 2"): "LEVEL = 3"},
        {("work", 'TABLE["a"] = 1'): 'TABLE["a"] = 2'},
        {("work", "factor=LEVEL"): "factor=4"},
        {("helpers", "2 * x"): "3 * x"},
        {("rooms", "DEPTH = 3"): "DEPTH = 4"},
        {("rooms", "x + DEPTH"): "x - DEPTH"},
    ],
    ids=lambda change: next(iter(change))[1],
)
def test_what_it_reaches_changes_it(package, change):
    assert package() != package(change)


def test_a_class_reaches_its_base(package, tmp_path):
    package()
    name = f"scratch{next(COUNTER) - 1:03d}"
    places = reached_from((f"{name}.work", "Nested"))
    assert {place[1] for place in places} == {"Nested", "Base"}


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def test_the_code_of_nested_modules_keys_a_model(monkeypatch):
    model = nn.Sequential(nn.Sequential(TotalVariation()))
    before = digest(model)
    real = dependencies._code_at
    monkeypatch.setattr(dependencies, "_code_at", lambda module, name: real(module, name) + "changed")
    assert digest(model) != before
    monkeypatch.undo()
    assert digest(model) == before
    assert digest(nn.Sequential(Doubled())) != digest(nn.Sequential(nn.Identity()))


def test_the_solver_of_a_defence_is_reached():
    reached = {place[1] for place in reached_from(("lib.defences.tvm", "TotalVariation"))}
    assert {"TotalVariation", "minimise", "gradient", "divergence", "image_seeded_uniform"} <= reached


def test_attacks_reach_their_settings_and_not_the_others():
    reached = reached_from(("lib.studies.pin.attacks", "attack_pairs"))
    assert ("lib.attacks.loop", "ascend") in reached
    assert ("lib.attacks.settings", "FGSM") in reached
    assert ("lib.attacks.settings", "SINIFGSM") not in reached


def test_equal_in_two_processes():
    line = "from lib.dependencies import code_of; from lib.attacks import ascend; print(code_of(ascend))"
    found = {subprocess.check_output([sys.executable, "-c", line], cwd=ROOT, text=True).strip() for _ in range(2)}
    from lib.attacks import ascend

    assert found == {code_of(ascend)}


def test_a_page_watches_its_own_study_alone():
    inputs = page_inputs(NOTEBOOKS / "12_feature_gap.ipynb")
    assert "lib/studies/ancra/feature_gap.py" in inputs
    assert "lib/papers/ancra.csv" in inputs
    assert "lib/attacks/loop.py" in inputs
    assert not [path for path in inputs if path.startswith(("lib/studies/pin", "lib/studies/acl_triplet"))]


def test_tensors_key_by_value():
    assert digest(torch.ones(2)) != digest(torch.zeros(2))


def test_a_package_may_import_its_own_modules():
    reached = reached_from(("lib.transforms.corruptions", "corrupt"))
    assert ("lib.transforms.corruptions.jpeg", "jpeg_rounded") in reached
    assert ("lib.transforms.corruptions.noise", "shot") in reached
