"""`python -m benchmarks [--device cpu|cuda] [--repeats N] [--batch N]`: prints each ratio, its target, pass or fail.

Both sides of a ratio run in turn, in changing order, so that a slow spell of the machine hits both; the ratio is the
median over the rounds of (ours / theirs), and the spread shows how noisy the machine was.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchattacks
from torch import Tensor

from lib.attacks import PGD, Linf, PairLogits, ascend, deepfool, frozen, pair_boundaries, verification
from lib.errors import WorkbookError
from lib.models import Recogniser, load_recogniser

STEPS = 10


@dataclass(frozen=True)
class Case:
    """A recogniser and its verification pairs, on one device."""

    model: Recogniser
    probes: Tensor
    reference: Tensor  # embeddings (n, d)
    same: Tensor

    def cut(self, n: int) -> "Case":
        """The first n pairs."""
        return Case(self.model, self.probes[:n], self.reference[:n], self.same[:n])


def make_case(device: str, n: int) -> Case:
    """MobileFaceNet with smooth random pictures: speed does not ask who is on them."""
    model = load_recogniser("mobilefacenet", device)
    coarse = torch.rand(2 * n, 3, 14, 14, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(coarse, size=model.size, mode="bilinear").to(device)
    with torch.no_grad():
        reference = torch.cat([model.embed(part) for part in images[n:].split(32)])
    return Case(model, images[:n], reference, torch.arange(n, device=device) % 2 == 0)


def our_pgd(case: Case) -> Tensor:
    """PGD-10 of the one loop."""
    return ascend(verification(case.model, case.reference, case.same), case.probes, Linf("8/255"), PGD.but(steps=STEPS))


def bare_passes(case: Case) -> None:
    """Ten forward and input-gradient passes, with nothing around them."""
    with frozen(case.model):
        for _ in range(STEPS):
            leaf = case.probes.detach().requires_grad_()
            torch.autograd.grad((case.model.embed(leaf) * case.reference).sum(), leaf)


def their_pgd(case: Case) -> Tensor:
    """torchattacks' PGD-10 through the adapter."""
    pairs = PairLogits(case.model, case.probes, case.reference, classes=2)
    return torchattacks.PGD(pairs, steps=STEPS)(case.probes, case.same.long())


def our_deepfool(case: Case) -> Tensor:
    """Batched DeepFool on the pairs' one boundary."""
    return deepfool(pair_boundaries(case.model, case.reference, case.same, threshold(case)), case.probes, steps=3)


def their_deepfool(case: Case) -> Tensor:
    """torchattacks' image-by-image DeepFool through the adapter."""
    pairs = PairLogits(case.model, case.probes, case.reference, threshold=threshold(case), classes=2)
    return torchattacks.DeepFool(pairs, steps=3)(case.probes, case.same.long())


def threshold(case: Case) -> Tensor:
    """Per pair a threshold (n,) on the right side of its cosine, so that every pair has a way to go."""
    with torch.no_grad():
        cosine = (case.model.embed(case.probes) * case.reference).sum(1)
    return cosine + torch.where(case.same, -0.3, 0.3)


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall time of one call, the accelerator's queue emptied."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def ratios(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, device: str) -> list[float]:
    """ours / theirs, round by round, the two taking turns at going first."""
    found = []
    for turn in range(repeats):
        if turn % 2:
            b, a = seconds(theirs, device), seconds(ours, device)
        else:
            a, b = seconds(ours, device), seconds(theirs, device)
        found.append(a / b)
    return found


def report(name: str, values: list[float], target: float, unit: str = "at most", invert: bool = False) -> bool:
    """Print one line and say whether the median meets the target."""
    values = sorted(1 / value if invert else value for value in values)
    middle = statistics.median(values)
    passed = middle >= target if invert else middle <= target
    spread = f"{values[0]:.3g}-{values[-1]:.3g}"
    print(f"{name:<66} {middle:7.3f} ({spread}, n={len(values)})  {unit} {target:g}: {'pass' if passed else 'FAIL'}")
    return passed


def main() -> int:
    """Measure the three ratios; 1 when one misses its target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed ratios of the attack room.")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--batch", type=int, default=16, help="pairs in the PGD ratios (DeepFool always takes 64)")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise WorkbookError("This machine has no CUDA device that torch can use: run the benchmark with --device cpu.")
    device, quick = options.device, options.device == "cuda"
    print(
        f"torch {torch.__version__}, torchattacks {torchattacks.__version__}, {device}, "
        f"{torch.get_num_threads()} threads, MobileFaceNet 112x112, batch {options.batch}"
    )
    case = make_case(device, max(64, options.batch))
    small = case.cut(options.batch)
    bare_passes(small)  # warm-up
    pgd = ratios(lambda: our_pgd(small), lambda: bare_passes(small), options.repeats, device)
    passed = report(f"our PGD-{STEPS} on pairs / {STEPS} bare forward+gradient passes", pgd, 1.05)
    theirs = ratios(lambda: our_pgd(small), lambda: their_pgd(small), options.repeats, device)
    passed &= report(f"our PGD-{STEPS} / torchattacks' PGD-{STEPS} through the adapter", theirs, 1.0, "below")
    sixty = case.cut(64)
    fool = ratios(lambda: our_deepfool(sixty), lambda: their_deepfool(sixty), 3 if quick else 1, device)
    passed &= report(
        "batched DeepFool, times faster than torchattacks' loop at batch 64",
        fool,
        20 if quick else 2,
        "at least",
        invert=True,
    )
    apart = (our_deepfool(sixty) - their_deepfool(sixty)).abs().max().item() if quick else check_same(sixty.cut(8))
    print(f"DeepFool's results differ by at most {apart:.1e}")
    return 0 if passed else 1


def check_same(case: Case) -> float:
    """Largest difference between the two DeepFools on a few pairs."""
    return (our_deepfool(case) - their_deepfool(case)).abs().max().item()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except WorkbookError as error:
        sys.exit(f"{type(error).__name__}: {error}")
