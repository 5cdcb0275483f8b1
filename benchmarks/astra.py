"""A step of ASTrA against its bare passes, and its attack in a shrinking batch against the masked one.

Both at the released range of actions, drawn evenly: 3 to 14 iterations. The bare side passes what the step passes, the
same numbers of views at each iteration, with nothing around: no views drawn, no loss, no steps of the attack.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.timing import measure, report, smooth_images
from lib.attacks import frozen
from lib.models.base import evaluating
from lib.models.dual_norm import ROUTES, route
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.training import SelfATPlan
from lib.studies.robust_ssl.astra.attack import Approach, attack_by_actions
from lib.studies.robust_ssl.astra.strategy import Actions, FixedStrategy, draw_actions
from lib.studies.robust_ssl.astra.training import ASTrA, Strategy
from lib.studies.robust_ssl.networks import Sizes

BATCH = 64  # pictures: 128 views
SIZES = {"cpu": Sizes(), "cuda": Sizes(64, "small", 512, 512)}


@dataclass(frozen=True)
class Case:
    """A network, ASTrA's loss, two views (128, 3, 32, 32) made ahead, and an action for each."""

    model: RoutedNetwork
    loss: ASTrA
    views: Tensor
    actions: Actions


def make_case(device: str) -> Case:
    """ASTrA at the device's size on smooth pictures; its strategy draws nearly evenly, as it is new."""
    sizes = SIZES[device]
    plan = SelfATPlan(ASTrA, sizes, ASTrA.Options(learnt=Strategy(width=sizes.width, stem=sizes.stem)))
    model = plan.model().to(device).train()
    images = (255 * smooth_images(BATCH, (32, 32), device)).byte()
    views = torch.cat([images, images.flip(3)]).float() / 255
    for way in ROUTES:
        with torch.no_grad(), route(model, way):
            model.embed(views)
    actions = draw_actions(FixedStrategy().to(device)(views), torch.Generator().manual_seed(0))
    return Case(model, plan.loss(images, model).to(device), views, actions)


def our_step(case: Case) -> None:
    """All of the encoder's turn but the optimiser: views, actions, attack, loss, gradients."""
    case.model.zero_grad()
    case.loss(case.model, torch.arange(BATCH), torch.Generator().manual_seed(0))["loss"].backward()


def bare_step(case: Case) -> None:
    """The strategy once; each view as often as its own iterations; a forward for the finished; clean and attacked."""
    case.model.zero_grad()
    with torch.no_grad(), evaluating(case.loss.strategy):
        case.loss.strategy(case.views)
    steps = case.actions.steps
    most = int(steps.max())
    with frozen(case.model), route(case.model, "adversarial"):
        for turn in range(most):
            leaf = case.views[steps > turn].requires_grad_()
            torch.autograd.grad(case.model.embed(leaf).sum(), leaf)
        with torch.no_grad():
            case.model.embed(case.views[steps < most])
    for way in ROUTES:
        with route(case.model, way):
            case.model.embed(case.views).sum().backward()


def attack(case: Case, shrink: bool) -> Tensor:
    """The attack alone."""
    draw = torch.Generator().manual_seed(0)
    return attack_by_actions(case.model, case.views, case.actions, draw, Approach(shrink=shrink))


def astra_ratios(rounds: int, device: str) -> list[bool]:
    """Both ratios."""
    case = make_case(device)
    steps = {"ours": lambda: our_step(case), "bare": lambda: bare_step(case)}
    ways = {"masked": lambda: attack(case, False), "shrinking": lambda: attack(case, True)}
    for work in (*steps.values(), *ways.values()):
        work()  # warm-up
    times = measure(steps, rounds, device)
    title = f"ASTrA step on {BATCH} images / its bare passes"
    verdicts = [report(title, times["ours"], times["bare"], "at most 1.25", lambda ratio: ratio <= 1.25)]
    times = measure(ways, rounds, device)
    title = f"ASTrA's attack on {2 * BATCH} views, masked / in a shrinking batch"
    verdicts.append(report(title, times["masked"], times["shrinking"], "at least 1.3", lambda ratio: ratio >= 1.3))
    return verdicts
