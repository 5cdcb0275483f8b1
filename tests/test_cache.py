import functools
import multiprocessing
import time
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lib import cache
from lib.cache import digest, kept
from lib.errors import WorkbookError

CALLS = []


def square(x, offset=0):
    CALLS.append(1)
    return {"value": x**2 + offset, "list": [1, "a", (2.0, None)]}


def unsafe(x):
    return {"model": nn.Linear(1, 1)}


def failing(x):
    raise RuntimeError("stopped half-way")


def slow_count(folder):
    path = folder / "calls"
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    time.sleep(0.5)
    return 1


def count_once(folder, cache_folder):
    kept(slow_count, Folder(str(folder)), folder=cache_folder)


@dataclass(frozen=True)
class Folder:
    path: str

    def __truediv__(self, name):
        import pathlib

        return pathlib.Path(self.path) / name


@pytest.fixture(autouse=True)
def _no_calls():
    CALLS.clear()


def test_computed_once_and_equal(tmp_path):
    x = torch.arange(4.0)
    first = kept(square, x, folder=tmp_path, offset=1)
    second = kept(square, x, folder=tmp_path, offset=1)
    assert len(CALLS) == 1
    assert torch.equal(first["value"], second["value"])
    assert second["list"] == [1, "a", (2.0, None)]


def test_arguments_by_name_or_position_are_one_key(tmp_path):
    kept(square, torch.ones(2), 3, folder=tmp_path)
    kept(square, x=torch.ones(2), offset=3, folder=tmp_path)
    assert len(CALLS) == 1


@pytest.mark.parametrize("other", [torch.arange(4.0) + 1e-6, torch.arange(4.0).double(), torch.arange(4.0).view(2, 2)])
def test_other_data_other_key(tmp_path, other):
    kept(square, torch.arange(4.0), folder=tmp_path)
    kept(square, other, folder=tmp_path)
    assert len(CALLS) == 2


def test_damaged_file_is_recomputed(tmp_path):
    kept(square, 3, folder=tmp_path)
    file = next(tmp_path.glob("*.pt"))
    file.write_bytes(file.read_bytes()[:50])
    assert kept(square, 3, folder=tmp_path)["value"] == 9
    assert len(CALLS) == 2


def test_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        kept(failing, 3, folder=tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])


def test_unsafe_result_is_refused(tmp_path):
    with pytest.raises(WorkbookError, match="must be plain"):
        kept(unsafe, 3, folder=tmp_path)
    assert not list(tmp_path.glob("*.pt"))


def test_two_processes_compute_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=count_once, args=(tmp_path, tmp_path / "cache")) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "calls").read_text() == "x"


def test_digest_tells_models_apart():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    before = digest(model)
    assert digest(model) == before
    model[1].running_mean += 1
    assert digest(model) != before


def test_digest_tells_settings_apart_that_neither_weights_nor_repr_show():
    one, two = nn.Sequential(nn.Linear(1, 1)), nn.Sequential(nn.Linear(1, 1))
    two.load_state_dict(one.state_dict())
    for part in (one[0], two[0]):
        part.gates = 1
    assert digest(one) == digest(two)
    two[0].gates = 2
    assert digest(one) != digest(two)
    two[0].gates = 1
    assert digest(one) == digest(two.eval())  # the mode is no setting: what computes sets it


def test_digest_of_containers_is_unambiguous():
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest((1, 2)) != digest([1, 2])
    assert digest(functools.partial(square, offset=1)) != digest(functools.partial(square, offset=2))


@dataclass(frozen=True)
class Scorer:
    """A callable setting, as a loss or a measure is."""

    factor: int = 2

    def __call__(self, value):
        return self.factor * value


def test_a_callable_dataclass_is_keyed_by_its_code_too(monkeypatch):
    before = digest(Scorer())
    assert before == digest(Scorer())
    assert before != digest(Scorer(3))
    monkeypatch.setattr(cache, "code_of", lambda function: "changed")
    assert digest(Scorer()) != before


def test_lambdas_and_strangers_cannot_be_keys():
    for value in (lambda x: x, object()):
        with pytest.raises(WorkbookError, match="cannot be keyed"):
            digest(value)
