"""DAR-SFRL's costs: a stage of DAFR against its bare convolutions, mixed negatives against the expanded tensor."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.timing import measure, report, smooth_images
from lib.seeds import seeded
from lib.studies.dar_sfrl.losses import TEMPERATURE, Mixing, mixed_nt_xent, mixing, negatives_of
from lib.studies.dar_sfrl.networks import Stage

FACES, SIDE = 32, 64
ROWS, DIM = 256, 512  # features of 128 pictures in two views


def forward_and_back(model: Callable[..., Tensor], *given: Tensor) -> None:
    """A forward pass and the gradient of its sum in the weights and in the first input."""
    leaf = given[0].detach().requires_grad_()
    model(leaf, *given[1:]).sum().backward()


def bare_convolutions(stage: Stage, face: Tensor) -> Tensor:
    """The convolutions of one stage on their own shapes, one after the other: no skip, attention, step or PReLU."""
    for part in (stage.degrade, stage.transposed, nn.Sequential(stage.lift, stage.block.body, stage.out)):
        for layer in part.modules():
            face = layer(face) if isinstance(layer, nn.Conv2d) else face
    return face


def expanded_nt_xent(both: Tensor, mixes: Mixing, temperature: float = TEMPERATURE) -> Tensor:
    """The same loss with all mixed negatives built, (2n, 2n - 2, d), as in the released code."""
    rows = len(both)
    bank = both[negatives_of(rows).to(both.device)]
    share = mixes.share.to(both.device)[:, :, None]
    mixed = F.normalize(share * bank + (1 - share) * bank[:, mixes.order.to(both.device)], dim=2)
    unit = F.normalize(both, dim=1)
    positive = (unit * unit.roll(rows // 2, 0)).sum(1, keepdim=True)
    logits = torch.cat([positive, torch.einsum("rd,rmd->rm", unit, mixed)], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long, device=both.device))


def peak_megabytes(work: Callable[[], object], device: str) -> float:
    """The most memory that the tensors of one call hold at once, beyond what was held before, in MB."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    held = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    total = peak = 0
    for event in sorted(held, key=lambda one: one.start_ns()):
        total += event.nbytes()
        peak = max(peak, total)
    return peak / 1e6


def dar_ratios(rounds: int, device: str) -> list[bool]:
    """Time of a stage, and time and memory of the interpolated negatives."""
    with seeded(0):
        stage = Stage().to(device)
        both = torch.randn(ROWS, DIM).to(device)
    faces = smooth_images(FACES, (SIDE, SIDE), device)
    works = {
        "stage": lambda: forward_and_back(stage, faces, faces),
        "bare": lambda: forward_and_back(partial(bare_convolutions, stage), faces),
    }
    for work in works.values():
        work()  # warm-up
    times, title = (
        measure(works, rounds, device),
        f"A DAFR stage on {FACES} faces, forward and back / bare convolutions",
    )
    verdicts = [report(title, times["stage"], times["bare"], "at most 1.15", lambda ratio: ratio <= 1.15)]
    mixes = mixing(ROWS, ROWS - 2, torch.Generator().manual_seed(0))
    losses = {"gram": mixed_nt_xent, "expanded": expanded_nt_xent}
    works = {name: partial(forward_and_back, loss, both, mixes) for name, loss in losses.items()}
    gap = abs((mixed_nt_xent(both, mixes) - expanded_nt_xent(both, mixes)).item())
    peaks = {name: [peak_megabytes(work, device)] for name, work in works.items()}  # also the warm-up
    times, title = measure(works, rounds, device), f"Mixed negatives of {ROWS} rows, expanded / through the Gram matrix"
    target = "at least 5"
    verdicts.append(report(title, times["expanded"], times["gram"], target, lambda ratio: ratio >= 5))
    verdicts.append(
        report(f"{title}, memory", peaks["expanded"], peaks["gram"], target, lambda ratio: ratio >= 5),
    )
    held = ", ".join(f"{name} {peak[0]:.1f} MB" for name, peak in peaks.items())
    print(f"Most memory at once: {held}. The two losses differ by {gap:.1e}.")
    return verdicts
