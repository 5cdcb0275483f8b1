"""Several processes give the run of one; tried in a fresh process, as a fork of this one would inherit its threads."""

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.paths import ROOT
from lib.training.launch import launch
from lib.training.loop import Recipe, fit
from lib.training.processes import Processes
from tests.training.contrast import POINTS, Alternating, encoder


@dataclass(frozen=True, eq=False)
class Noisy:
    """Squared error of noisy targets."""

    x: torch.Tensor

    def __call__(self, model, index, generator):
        noise = torch.randn(len(index), 1, generator=generator)
        return {"loss": (model(self.x[index]) - noise).square().mean(), "rows": torch.tensor(float(len(index)))}


def trained(shards, steps=12):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
    loss = Noisy(torch.randn(20, 3, generator=torch.Generator().manual_seed(1)))
    history = fit(model, loss, 20, Recipe(steps, batch=8, rate=0.02, shards=shards, clip=1.0))
    return {"weights": model.state_dict(), "history": history}


SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from tests.training.test_launch import {function}
from lib.training.launch import launch
if __name__ == "__main__":
    found = launch({function}, 2, processes=2)
    curve = next(iter(found["history"].values()))
    print(json.dumps([curve.tolist(), {{k: v.tolist() for k, v in found["weights"].items()}}]))
"""


def with_state(shards, steps=9, kind=Alternating):
    torch.manual_seed(0)
    model = encoder()
    loss = kind(POINTS, model)
    history = fit(model, loss, 20, Recipe(steps, batch=9, rate=0.02, shards=shards))
    return {"weights": model.state_dict() | {f"loss.{name}": x for name, x in loss.state_dict().items()}} | {
        "history": history
    }


@pytest.mark.parametrize("function", [trained, with_state], ids=["plain", "state"])
def test_two_processes_give_the_curve_and_the_weights_of_one(function):
    script = SCRIPT.format(root=str(ROOT), function=function.__name__)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    curve, weights = json.loads(done.stdout.strip().splitlines()[-1])
    alone = function(2)
    name = "loss" if function is trained else "encode"
    torch.testing.assert_close(torch.tensor(curve), alone["history"][name], rtol=1e-5, atol=1e-6)
    for name, value in alone["weights"].items():
        torch.testing.assert_close(torch.tensor(weights[name], dtype=value.dtype), value, rtol=1e-4, atol=1e-5)


def test_shards_are_whole_batches_cut(tmp_path):
    history = trained(2)["history"]
    assert history["rows"].tolist() == [4.0] * 12


@pytest.mark.parametrize("shards", [3, 6, 7])
def test_pieces_count_their_passes_as_one(shards):
    """Batch normalisation counts passes in whole numbers, each piece's count being one above the last step's."""
    model = nn.BatchNorm1d(3)

    def descend(shard):
        model(torch.full((2, 3), float(shard)))
        return {"loss": float(shard)}

    for turn in range(1, 10):
        metrics = Processes().share(model, descend, shards)
        assert model.num_batches_tracked == turn
    assert metrics["loss"] == pytest.approx((shards - 1) / 2)
    mean = (1 - 0.9**9) * (shards - 1) / 2
    torch.testing.assert_close(model.running_mean, torch.full((3,), mean))


def test_one_process_is_a_plain_call():
    assert launch(max, 2, 3, processes=1) == 3
    with pytest.raises(WorkbookError, match="for 0 processes"):
        launch(max, 2, 3, processes=0)
