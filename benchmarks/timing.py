"""How the benchmarks time two sides of a ratio, and the pictures they time them on."""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

Work = Callable[[], object]


def smooth_images(n: int, size: tuple[int, int], device: str) -> Tensor:
    """Random pictures (n, 3, *size) without fine detail."""
    coarse = torch.rand(n, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=size, mode="bilinear").to(device)


def seconds(work: Work, device: str) -> float:
    """Time of one call."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = clock()
    work()
    wait()
    return clock() - start


def measure(works: dict[str, Work], rounds: int, device: str) -> dict[str, list[float]]:
    """Times of each work, round by round; every round starts with another one."""
    names, times = list(works), {name: [] for name in works}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(seconds(works[name], device))
    return times


def report(name: str, above: list[float], below: list[float], target: str, passes: Callable[[float], bool]) -> bool:
    """Print the ratio of two works' times and say whether its median over the rounds meets the target."""
    values = sorted(a / b for a, b in zip(above, below, strict=True))
    middle = statistics.median(values)
    verdict = "pass" if passes(middle) else "FAIL"
    spread = f"{values[0]:.3g} to {values[-1]:.3g}, n = {len(values)}"
    print(f"{name:<71} {middle:6.3f}  ({spread})  target {target}: {verdict}", flush=True)
    return verdict == "pass"
