"""A step of ACL, DynACL and DeACL against its bare passes, at the laptop's size on a CPU, in full on CUDA.

The bare side makes the same passes with nothing around them: input gradients for the attack, then one backward pass
through what is learnt from. No drawing of views, no loss, no projection into the box.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.timing import Work, measure, report, smooth_images
from lib.attacks.guard import frozen
from lib.models.dual_norm import route
from lib.studies.robust_ssl.adversarial.methods import Aids, SelfAdversarial, SimCLR
from lib.studies.robust_ssl.adversarial.networks import RoutedEncoder, RoutedNetwork
from lib.studies.robust_ssl.adversarial.training import SELF_AT, SelfATPlan, one_step
from lib.studies.robust_ssl.networks import Sizes
from lib.training.passes import count_passes

BATCH, STEPS = 128, 5
LIMIT = 1.15
SIZES = {"cpu": Sizes(), "cuda": Sizes(64, "small", 512, 512)}


@dataclass(frozen=True)
class Case:
    """A network in training mode, its method's loss, and two views (256, 3, 32, 32) made ahead."""

    model: RoutedNetwork
    loss: SelfAdversarial
    both: Tensor

    @property
    def first(self) -> Tensor:
        """The first views."""
        return self.both[:BATCH]


def make_case(method: str, device: str) -> Case:
    """The method as released, on smooth pictures."""
    sizes = SIZES[device]
    plan = SelfATPlan(SELF_AT[method], sizes, aids=Aids(teacher=RoutedEncoder(sizes, SimCLR.norms)))
    model = plan.model().to(device).train()
    images = (255 * smooth_images(BATCH, (32, 32), device)).byte()
    loss = plan.loss(images, model).to(device)
    views = torch.cat([images.float() / 255, images.flip(3).float() / 255])
    return Case(model, loss, views.contiguous(memory_format=torch.channels_last))


def input_gradients(network: torch.nn.Module, x: Tensor) -> None:
    """As many gradients with respect to the pictures as the attack takes, in eval mode."""
    with frozen(network), route(network, "adversarial"):
        for _ in range(STEPS):
            leaf = x.detach().requires_grad_()
            torch.autograd.grad(network(leaf).sum(), leaf)


def bare_acl(case: Case) -> None:
    """Both views attacked, then learnt from, clean and attacked."""
    case.model.zero_grad()
    input_gradients(case.model, case.both)
    total = 0.0
    for way in ("clean", "adversarial"):
        with route(case.model, way):
            total = total + case.model(case.both).sum()
    total.backward()


def bare_dynacl(case: Case) -> None:
    """The slow copy is attacked and embeds the second views, the network learns from the first."""
    case.model.zero_grad()
    slow = case.loss.slow.model
    input_gradients(slow, case.both)
    total = 0.0
    for way in ("clean", "adversarial"):
        with route(slow, way), torch.no_grad():
            slow(case.both[BATCH:])
        with route(case.model, way):
            total = total + case.model(case.first).sum()
    total.backward()


def bare_deacl(case: Case) -> None:
    """The teacher sees the picture once; the student is attacked, then learns from both."""
    case.model.zero_grad()
    with frozen(case.loss.teacher), torch.no_grad():
        case.loss.teacher(case.first)
    student = case.model.encoder
    input_gradients(student, case.first)
    (student(case.first).sum() + student(case.first).sum()).backward()


BARE = {"ACL": bare_acl, "DynACL": bare_dynacl, "DeACL": bare_deacl}


def counted(case: Case, work: Work) -> dict[str, float]:
    """Passes of all networks in `work()`, in pictures of the batch."""
    asked = [module for top in (case.model, case.loss) for module in top.modules() if hasattr(module, "trunk")]
    return count_passes(work, [encoder.trunk.stem for encoder in asked], BATCH)


def self_adversarial_ratios(rounds: int, device: str) -> list[bool]:
    """Each step against its bare passes, and whether both sides pass the same number of pictures."""
    verdicts = []
    for method, bare in BARE.items():
        case = make_case(method, device)
        works = {
            "ours": lambda case=case: one_step(case.model, case.loss, BATCH),
            "bare": lambda case=case, bare=bare: bare(case),
        }
        ours, theirs = (counted(case, work) for work in works.values())  # also the warm-up
        told = ", ".join(f"{kind} {number:g}" for kind, number in ours.items())
        print(f"Passes of a {method} step, in images an example: {told}: {'pass' if ours == theirs else 'FAIL'}")
        times = measure(works, rounds, device)
        title = f"{method} step on {BATCH} images / its bare passes"
        passed = report(title, times["ours"], times["bare"], f"at most {LIMIT}", lambda ratio: ratio <= LIMIT)
        verdicts += [ours == theirs, passed]
    return verdicts
