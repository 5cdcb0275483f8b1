"""What one step of a robust training costs: passes of the model, and seconds (ANCRA, Table IX)."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.studies.ancra.classifiers import GatedClassifier
from lib.studies.ancra.training import Network
from lib.training.loop import Loss
from lib.training.passes import count_passes


def one_step(model: nn.Module, loss: Loss, batch: int) -> None:
    """The examples, the loss and its gradients for the first `batch` images: all of a step but the optimiser."""
    model.train().zero_grad()
    device = next(model.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        found = loss(model, torch.arange(batch), torch.Generator().manual_seed(0))
    found["loss"].backward()
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def learner_of(loss: Loss, network: Network, device: str) -> tuple[nn.Module, list[GatedClassifier]]:
    """What `loss` trains, new, and all classifiers that a step asks (FairARD has a teacher)."""
    model = network.classifier().to(device)
    asked = [model] + ([loss.teacher] if hasattr(loss, "teacher") else [])
    return (loss.tracked(model) if hasattr(loss, "tracked") else model), asked


def passes_of(work: Callable[[], object], models: Sequence[GatedClassifier], batch: int) -> dict[str, float]:
    """Passes of `models` in `work`, in images of a batch: see `count_passes`."""
    return count_passes(work, [model.trunk.stem for model in models], batch)


def step_passes(loss: Loss, network: Network, batch: int, device: str = "cpu") -> dict[str, float]:
    """`passes_of` one step, for each training image."""
    learner, asked = learner_of(loss, network, device)
    return passes_of(lambda: one_step(learner, loss, batch), asked, batch)


def step_seconds(
    losses: Mapping[str, Loss], networks: Mapping[str, Network], batch: int, rounds: int = 10, device: str = "cpu"
) -> dict[str, Tensor]:
    """Seconds of a step for each loss, one value a round (rounds,), float64; the losses take turns."""
    if rounds < 1 or set(losses) != set(networks):
        raise WorkbookError("step_seconds takes 1 or more rounds and a network for each loss: add what is missing.")
    learners = {name: learner_of(loss, networks[name], device)[0] for name, loss in losses.items()}
    taken: dict[str, list[float]] = {name: [] for name in losses}
    for turn in range(rounds + 1):
        for name, loss in losses.items():
            start = time.perf_counter()
            one_step(learners[name], loss, batch)
            if turn:  # the first is the warm-up
                taken[name].append(time.perf_counter() - start)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in taken.items()}
