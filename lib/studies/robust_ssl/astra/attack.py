"""ASTrA's attack: every view with its own budget, step size and number of iterations, in a batch that shrinks."""

from dataclasses import dataclass, replace

from torch import Generator, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.embeddings import nt_xent
from lib.attacks.loop import ascend
from lib.attacks.objectives import Objective, embedder, run_once
from lib.attacks.settings import PGD, Settings
from lib.losses.contrastive import nt_xent_rows
from lib.models.dual_norm import route
from lib.studies.robust_ssl.astra.strategy import Actions

START = 8 / 255  # half the width of the random start, whatever a view's own budget


@dataclass(frozen=True)
class Approach:
    """How the attack of n views runs. shrink: views that are done leave the batch; else they are passed on, masked."""

    temperature: float = 0.5
    start: float = START
    shrink: bool = True


def attack_by_actions(
    model: nn.Module, views: Tensor, actions: Actions, generator: Generator, approach: Approach = Approach()
) -> Tensor:
    """Views (2n, C, H, W) in [0,1], first and second ones, each moved as its action says, against each other.

    NT-Xent of the attacked views through the adversarial route of `model`, in eval mode. Differs from the release: a
    start outside a view's own budget is cut to it before the first gradient, not after.
    """
    region = Linf(approach.start).around(views)
    begun = region.sample(generator)
    settings = PGD.but(step=actions.step, steps=actions.steps, start=begun)
    with route(model, "adversarial"):
        if not approach.shrink:
            goal = nt_xent(model, None, approach.temperature)
            return ascend(goal, views, Linf(actions.eps), settings)
        return _shrinking(model, views, Linf(actions.eps), settings, approach.temperature)


def _shrinking(model: nn.Module, views: Tensor, budget: Linf, settings: Settings, temperature: float) -> Tensor:
    """The ascent in stretches between two numbers of iterations, each with the views that are not done yet.

    In eval mode a view's embedding depends on itself alone, so a finished one is embedded once and stays.
    """
    images = budget.around(views).project_(settings.start.clone())
    finished = images.new_zeros(0)
    before = 0
    for count in settings.steps.unique().tolist():
        active = settings.steps > before
        if before:
            finished = _embedded(model, images, finished, settings.steps, before)
        goal = among(model, active, finished, temperature)
        stretch = replace(settings.rows(active), steps=count - before, start=images[active])
        images[active] = ascend(goal, views[active], budget.rows(active), stretch)
        before = count
    return images


def _embedded(model: nn.Module, images: Tensor, known: Tensor, steps: Tensor, done: int) -> Tensor:
    """Embeddings (n, d) with those of the views that took exactly `done` steps filled in."""
    new = run_once(embedder(model), model, images[steps == done])
    found = known if len(known) else new.new_zeros(len(images), new.shape[1])
    found[steps == done] = new
    return found


def among(model: nn.Module, active: Tensor, finished: Tensor, temperature: float) -> Objective:
    """NT-Xent of all 2n views where only the `active` ones (2n,) move: scores (k,) of these, whose sum is the whole.

    finished (2n, d): embeddings of the others; their own terms move with the active ones and are shared out evenly.
    """

    def score(embedding: Tensor) -> Tensor:
        if bool(active.all()):
            return nt_xent_rows(embedding, temperature)
        rows = nt_xent_rows(finished.to(embedding.dtype).index_put((active,), embedding), temperature)
        return rows[active] + rows[~active].sum() / len(embedding)

    return Objective((model,), embedder(model), score, coupled=True)


def passes_saved(steps: Tensor) -> float:
    """Passes of the masked attack over those of the shrinking one, for numbers of iterations (n,).

    A gradient is one pass forward and one back; a view that leaves before the last is embedded once more.
    """
    most = steps.max()
    masked = 2 * most * len(steps)
    return masked.item() / (2 * steps.sum() + (steps < most).sum()).item()
