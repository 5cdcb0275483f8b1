"""A step of each kind of joint embedding against its bare passes, at the laptop's size on a CPU, in full on CUDA.

The bare side passes the same views forward and back with nothing around them: no drawing of views, no loss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.timing import measure, report, smooth_images
from lib.studies.robust_ssl.families import Family
from lib.studies.robust_ssl.networks import JointEmbedding, Sizes
from lib.studies.robust_ssl.training import Plan

BATCH = 256
LIMIT = 1.15
SIZES = {"cpu": Sizes(), "cuda": Sizes(64, "small", 2048, 256, 512)}


@dataclass(frozen=True)
class Case:
    """A network, its family's loss, and two views (256, 3, 32, 32) made ahead."""

    model: JointEmbedding
    loss: Family
    first: Tensor
    second: Tensor


def make_case(method: str, device: str) -> Case:
    """The family at the device's size, on smooth pictures."""
    plan = Plan(method, SIZES[device])
    model = plan.model().to(device).train()
    images = (255 * smooth_images(BATCH, (32, 32), device)).byte()
    loss = plan.loss(images, model).to(device)
    return Case(model, loss, images.float() / 255, images.flip(3).float() / 255)


def our_step(case: Case) -> None:
    """All of `fit`'s step but the optimiser: views, loss, gradients, and what the loss remembers."""
    case.model.zero_grad()
    found = case.loss(case.model, torch.arange(BATCH), torch.Generator().manual_seed(0))
    found["loss"].backward()
    with torch.no_grad():
        case.loss.update(case.model, {name: rows.detach() for name, rows in found.items() if rows.ndim})


def bare_step(case: Case) -> None:
    """Both views forward and back through encoder, projector and predictor; forward once more for a slow copy."""
    case.model.zero_grad()
    both = torch.cat([case.first, case.second])
    if hasattr(case.loss, "slow"):
        with torch.no_grad():
            case.loss.slow(both)
    case.model.predictor(case.model(both)).sum().backward()


def joint_embedding_ratios(rounds: int, device: str) -> list[bool]:
    """SimCLR, which keeps nothing beside the network, and BYOL, which keeps a slow copy."""
    verdicts = []
    for method in ("SimCLR", "BYOL"):
        case = make_case(method, device)
        works = {"ours": lambda case=case: our_step(case), "bare": lambda case=case: bare_step(case)}
        for work in works.values():
            work()  # warm-up
        times = measure(works, rounds, device)
        title = f"{method} step on {BATCH} images / its bare passes"
        verdicts.append(report(title, times["ours"], times["bare"], f"at most {LIMIT}", lambda ratio: ratio <= LIMIT))
    return verdicts
