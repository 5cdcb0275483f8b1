"""Adversarial training with ANCRA: a step against its bare passes, and its two inner attacks in one loop against two.

On a CPU a ResNet-18 of width 16 with the "half" stem in float32; on CUDA the published one under bfloat16 autocast;
batches of 128 images of 32x32 pixels.
"""

from dataclasses import dataclass

import torch

from benchmarks.timing import measure, report, smooth_images
from lib.attacks.guard import frozen
from lib.models.resnets import ResNet
from lib.seeds import seeded
from lib.studies.ancra.adversarial_training import ANCRATraining, ContrastedBatch
from lib.studies.ancra.classifiers import GatedClassifier, labelled
from lib.studies.ancra.step_costs import passes_of
from lib.training.adversarial import CHUNK

BATCH, CLASSES, STEPS = 128, 10, 10


@dataclass(frozen=True)
class Case:
    """What a step needs: a model in training mode, its loss, one batch ready made, autocast or not."""

    model: GatedClassifier
    loss: ANCRATraining
    examples: ContrastedBatch
    amp: bool


def make_case(device: str) -> Case:
    """TRADES-ANCRA as the source trains it: two gates, zeta = 3, targeted negatives, ten inner steps."""
    sizes = {"width": 64, "stem": "small"} if device == "cuda" else {"width": 16, "stem": "half"}
    with seeded(0):
        model = GatedClassifier(ResNet(18, **sizes), CLASSES, gates=2).to(device, memory_format=torch.channels_last)
    images = (255 * smooth_images(BATCH, (32, 32), device)).byte()
    labels = torch.arange(BATCH) % CLASSES
    loss = ANCRATraining(images, labels, base="TRADES", zeta=3.0, steps=STEPS)
    return Case(model.train(), loss, loss.examples(model, torch.arange(BATCH), generator()), device == "cuda")


def generator() -> torch.Generator:
    """Every call draws the same numbers."""
    return torch.Generator().manual_seed(0)


def our_step(case: Case) -> None:
    """Crops, negatives, both attacks, the loss and its gradients: all of `fit`'s step but the optimiser."""
    case.model.zero_grad()
    with torch.autocast(case.examples.clean.device.type, torch.bfloat16, enabled=case.amp):
        found = case.loss(case.model, torch.arange(BATCH), generator())
    found["loss"].backward()


def bare_step(case: Case) -> None:
    """The same passes with nothing around them: ten input gradients of 256 images, one backward of three times 128."""
    model, (clean, attacked, negative, labels, theirs) = case.model, case.examples
    model.zero_grad()
    layout = torch.channels_last
    both = torch.cat([attacked, negative]).contiguous(memory_format=layout)
    with torch.autocast(both.device.type, torch.bfloat16, enabled=case.amp):
        with frozen(model):
            for part in both.split(len(both) if both.is_cuda else CHUNK):
                for _ in range(STEPS):
                    leaf = part.detach().requires_grad_()
                    torch.autograd.grad(sum(head.sum() for head in model.outputs(leaf).heads), leaf)
        passes = ((clean, labels), (attacked, labels), (negative, theirs))
        total = sum(head.sum() for x, y in passes for head in model.outputs(x, labelled(y)).heads)
    total.backward()


def joint_attack(case: Case) -> None:
    """Away from the label for the first half, towards it for the second, in one loop."""
    x, y = torch.cat([case.examples.clean, case.examples.negative]), case.examples.labels.repeat(2)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=case.amp):
        towards = torch.arange(len(x), device=x.device) >= BATCH
        case.loss.attack(case.loss.objective(case.model, y, towards), x, generator())


def two_attacks(case: Case) -> None:
    """One after the other."""
    draw, y = generator(), case.examples.labels
    with torch.autocast(y.device.type, torch.bfloat16, enabled=case.amp):
        for x, targeted in ((case.examples.clean, False), (case.examples.negative, True)):
            case.loss.attack(case.loss.objective(case.model, y, targeted), x, draw)


def training_ratios(rounds: int, device: str) -> list[bool]:
    """Both ratios, and whether the two sides of the first pass the same number of images."""
    case = make_case(device)
    steps = {"ours": lambda: our_step(case), "bare": lambda: bare_step(case)}
    ours, bare = (passes_of(work, [case.model], BATCH) for work in steps.values())  # also the warm-up
    counted = ", ".join(f"{kind} {number:g}" for kind, number in ours.items())
    print(f"Passes of a TRADES-ANCRA step, in images an example: {counted}: {'pass' if ours == bare else 'FAIL'}")
    times = measure(steps, rounds, device)
    title = f"TRADES-ANCRA step, {STEPS} inner steps on {BATCH} images / its bare passes"
    verdicts = [report(title, times["ours"], times["bare"], "at most 1.15", lambda ratio: ratio <= 1.15)]
    loops = {"one": lambda: joint_attack(case), "two": lambda: two_attacks(case)}
    times, title = measure(loops, rounds, device), f"Two attacks on {BATCH} images in one loop / one after the other"
    verdicts.append(report(title, times["one"], times["two"], "at most 1.05", lambda ratio: ratio <= 1.05))
    return [ours == bare, *verdicts]
