"""What page 10 measures: classifiers, verification heads and action-unit probes in the three threat models.

    ready = transferred(surrogate, x, labels)  # images made once, for every method
    found = answers(probe, "transfer", x, labels, ready=ready)  # {"clean": (n,), "predictions": (attacks, n), ...}

An image that is misjudged already is left as it is where the attacker sees the probe (threat model "end to end"): there
is nothing to gain on it, and most of the time of an attack is saved.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from torch import BoolTensor, LongTensor, Tensor, nn

from lib.attacks.embeddings import verification
from lib.attacks.objectives import Objective, cross_entropy
from lib.attacks.settings import PGD, Settings
from lib.data.sets import Pairs
from lib.errors import WorkbookError
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images, over_seeds
from lib.evaluation.verification import best_threshold
from lib.interval import Interval
from lib.models.base import batch_size, evaluating
from lib.seeds import seeded
from lib.studies.dar_sfrl.attacks import (
    EPS,
    SEVEN,
    Straight,
    attack,
    autoattacked,
    convergence,
    objective_for,
    perturbation_statistics,
)
from lib.studies.dar_sfrl.evaluation import (
    PairHead,
    PairRecipe,
    UnitProbe,
    UnitRecipe,
    features_of,
    fit_pair_head,
    fit_unit_probe,
)
from lib.studies.dar_sfrl.purification import DiffPure, Purified, draws_right

NAMES = tuple(SEVEN)


@torch.no_grad()
def outputs_of(model: nn.Module, images: Tensor) -> Tensor:
    """What a model makes of images (n, 3, H, W) in [0,1], in batches, in eval mode, on the CPU."""
    device = next(model.parameters()).device
    with evaluating(model):
        return torch.cat([model(part.to(device)).cpu() for part in images.split(batch_size(None, device))])


def settings_at(name: str, eps: str) -> Settings:
    """One of the seven attacks; within another budget than 8/255 its step stays a quarter of the budget."""
    return SEVEN[name] if eps == EPS else SEVEN[name].but(step="eps/4")


def transferred(
    surrogate: nn.Module, x: Tensor, labels: LongTensor, names: tuple[str, ...] = NAMES, eps: str = EPS
) -> dict[str, Tensor]:
    """Images (n, 3, H, W) made on a surrogate classifier by each attack: threat model "transfer"."""
    return climbs(objective_for("transfer", surrogate, labels, surrogate), x, names, eps)


def attacked_images(
    probe: nn.Module, threat: str, x: Tensor, labels: LongTensor, names: tuple[str, ...] = NAMES, eps: str = EPS
) -> dict[str, Tensor]:
    """Images after each attack on a probe, "released" or "end to end"; in the latter only those judged rightly move."""
    chosen = torch.ones(len(x), dtype=torch.bool)
    if threat == "end to end":
        chosen = outputs_of(probe, x).argmax(1) == labels
    found = {name: x.clone() for name in names}
    if chosen.any():
        goal = objective_for(threat, probe, labels[chosen])
        for name, images in climbs(goal, x[chosen], names, eps).items():
            found[name][chosen] = images
    return found


def climbs(goal: Objective, x: Tensor, names: tuple[str, ...], eps: str = EPS) -> dict[str, Tensor]:
    """Images after each of the named attacks on a goal; two names of one attack (UPGD, MIFGSM) are climbed once."""
    done: dict[Settings, Tensor] = {}
    for name in names:
        settings = settings_at(name, eps)
        if settings not in done:
            done[settings] = attack(goal, x, settings, eps)
    return {name: done[settings_at(name, eps)] for name in names}


def answers(
    probe: nn.Module,
    threat: str,
    x: Tensor,
    labels: LongTensor,
    names: tuple[str, ...] = NAMES,
    ready: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """What a classifier says of n images, clean and after each of the named attacks at 8/255, in a threat model.

    ready: the images of the threat model "transfer". Gives "clean" (n,) and "predictions" (attacks, n), the classes;
    "clean chances" and "chances", the probabilities of the true class; and of each perturbation its "mean" in 1/255,
    the share "positive" of its values and its "cosine" with a constant image, each (attacks, n).
    """
    if (threat == "transfer") == (ready is None):
        raise WorkbookError("Images made beforehand belong to the threat model 'transfer', and to no other: give both.")
    moved = ready or attacked_images(probe, threat, x, labels, names)
    clean, logits = outputs_of(probe, x), torch.stack([outputs_of(probe, moved[name]) for name in names])
    told = [perturbation_statistics(x, moved[name]) for name in names]
    rows = torch.arange(len(x))
    found = {"clean": clean.argmax(1), "predictions": logits.argmax(2)}
    found |= {"clean chances": clean.softmax(1)[rows, labels], "chances": logits.softmax(2)[:, rows, labels]}
    return found | {key: torch.stack([entry[key] for entry in told]) for key in told[0]}


def survivors(found: dict[str, Tensor], labels: LongTensor) -> BoolTensor:
    """Which images (n,) are right when clean and after every attack."""
    return (found["clean"] == labels) & (found["predictions"] == labels).all(0)


def after_autoattack(
    probe: nn.Module, x: Tensor, labels: LongTensor, alive: BoolTensor, iterations: int, queries: int
) -> BoolTensor:
    """Which of the images (n,) that are still right (`alive`) also withstand AutoAttack through the whole model."""
    alive = alive.clone()
    if alive.any():
        alive[alive.clone()] = autoattacked(probe, x[alive], labels[alive], iterations, queries).robust.cpu()
    return alive


def steps_curve(
    probe: nn.Module, x: Tensor, labels: LongTensor, steps: tuple[int, ...], long: tuple[int, int]
) -> Tensor:
    """Which images are right after PGD of so many steps, and last after `long`: (steps, restarts); (plans, n) bool."""
    right = outputs_of(probe, x).argmax(1) == labels
    found = torch.zeros(len(steps) + 1, len(x), dtype=torch.bool)
    if right.any():
        short = convergence(probe, x[right], labels[right], steps)
        most = convergence(probe, x[right], labels[right], long[:1], long[1])
        found[:, right] = torch.stack([*short.values(), *most.values()]).cpu()
    return found


def strength_grid(
    probe: nn.Module,
    surrogate: nn.Module,
    x: Tensor,
    labels: LongTensor,
    strengths: tuple[int, ...],
    threats: tuple[str, ...],
) -> Tensor:
    """Mean class probabilities (threats, strengths, true class, class) under PGD at strengths of 1/255, for a widget.

    A class without an image has zeros.
    """
    classes = outputs_of(probe, x[:1]).shape[1]
    member = F.one_hot(labels, classes).float()  # (n, true class)
    table = torch.zeros(len(threats), len(strengths), classes, classes)
    for row, threat in enumerate(threats):
        for column, strength in enumerate(strengths):
            eps, images = f"{strength}/255", x
            if strength and threat == "transfer":
                images = transferred(surrogate, x, labels, ("PGD",), eps)["PGD"]
            elif strength:
                images = attacked_images(probe, threat, x, labels, ("PGD",), eps)["PGD"]
            chances = outputs_of(probe, images).softmax(1)
            table[row, column] = member.T @ chances / member.sum(0).clamp_min(1)[:, None]
    return table


def fit_logistic(
    learn: Tensor, labels: LongTensor, held: tuple[Tensor, LongTensor], decays: tuple[float, ...], steps: int = 100
) -> dict[str, Tensor]:
    """Logistic regression of features (n, d) by L-BFGS, its penalty chosen on held-out features; as `fit_probe` gives.

    decays: of half the squared weights, per image. "decay" is the chosen one, "held accuracy" one number for each.
    """
    mean, std = learn.mean(0), learn.std(0).clamp_min(1e-6)
    learn, (x, y) = (learn - mean) / std, ((held[0] - mean) / std, held[1])
    found: dict[str, Tensor] = {"mean": mean, "std": std}
    reached: list[float] = []
    for decay in decays:
        layer = nn.Linear(learn.shape[1], int(labels.max()) + 1)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        minimise(layer, learn, labels, decay, steps)
        right = (layer(x).argmax(1) == y).float().mean().item()
        if right > max(reached, default=-1.0):
            found |= {"held weight": layer.weight.detach().clone(), "held bias": layer.bias.detach().clone()}
            found["decay"] = torch.tensor(decay)
        reached.append(right)
    return found | {"held accuracy": torch.tensor(reached)}


def minimise(layer: nn.Linear, x: Tensor, labels: LongTensor, decay: float, steps: int) -> None:
    """Full-batch L-BFGS with line search on the cross-entropy and half the squared weights times `decay`."""
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer(x), labels) + decay / 2 * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)


def logistic_of_images(
    encoder: nn.Module, images: dict[str, Tensor], labels: dict[str, LongTensor], decays: tuple[float, ...]
) -> dict[str, Tensor]:
    """`fit_logistic` on an encoder's features of the parts "learn" and "held"."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    features = {name: features_of(encoder, images[name], device) for name in ("learn", "held")}
    return fit_logistic(features["learn"], labels["learn"], (features["held"], labels["held"]), decays)


@dataclass(frozen=True)
class PurifierAttack:
    """How a purifier is attacked: steps, gradients averaged a step, draws in the evaluation, steps of the sampler."""

    steps: int = 10
    eot: int = 4
    draws: int = 8
    sampler_steps: int = 5


def purifier_of(diffusion: nn.Module, time: int, side: int, sampler_steps: int) -> DiffPure:
    """DiffPure with noise up to `time`, for images of `side` pixels, at most 32 of which the network sees."""
    return DiffPure(diffusion, time, min(sampler_steps, time), min(side, 32))


def purified_draws(
    diffusion: nn.Module,
    classifier: nn.Module,
    time: int,
    images: dict[str, Tensor],
    labels: LongTensor,
    plan: PurifierAttack,
) -> dict[str, Tensor]:
    """Which images (draws, n) a purified classifier judges rightly: "clean", and after each kind of attack.

    images: "clean", and "transfer", made on the bare classifier. "BPDA" takes the identity for the purifier's gradient;
    "exact" goes back through the whole sampler. Both average the gradients of `plan.eot` draws.
    """
    x = images["clean"]
    purify = purifier_of(diffusion, time, x.shape[2], plan.sampler_steps)
    model = Purified(purify, classifier).eval()
    settings = PGD.but(steps=plan.steps, eot=plan.eot)
    found = dict(images)
    for kind, target in {"BPDA": Straight(purify, classifier).eval(), "exact": model}.items():
        with seeded(0):
            found[kind] = attack(cross_entropy(target, labels), x, settings)
    return {name: draws_right(model, moved, labels, plan.draws) for name, moved in found.items()}


# Verification ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FacePairs:
    """Two images (P, 3, H, W) in [0,1] of each pair, and whether they show one person (P,) bool."""

    first: Tensor
    second: Tensor
    same: BoolTensor


def split_pairs(pairs: Pairs, needed: LongTensor, images: Tensor, learn: int, test: int) -> dict[str, FacePairs]:
    """Pairs to "learn" on, from all folds but the last, and to "test" on, from the last; half of each are genuine.

    needed: the positions of the uint8 images (k, 3, H, W) in the set.
    """
    place = torch.full((int(needed.max()) + 1,), -1)
    place[needed] = torch.arange(len(needed))
    last = int(pairs.fold.max())
    parts = {"learn": (pairs.take(pairs.fold != last), learn), "test": (pairs.take(pairs.fold == last), test)}
    found = {}
    for name, (part, most) in parts.items():
        fewest = 2 * min(int(part.same.sum()), int((~part.same).sum()))
        chosen = part.thin(min(most, fewest))
        sides = [images[place[side]].float() / 255 for side in (chosen.first, chosen.second)]
        found[name] = FacePairs(*sides, chosen.same)
    return found


def fitted_head(encoder: nn.Module, pairs: FacePairs, recipe: PairRecipe) -> dict[str, Tensor]:
    """The weights of a verification head of an encoder, and the "threshold" of most right answers on its own pairs."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    first, second = (features_of(encoder, side, device) for side in (pairs.first, pairs.second))
    head = fit_pair_head(encoder, pairs.first.shape[2], first, second, pairs.same, recipe)
    with torch.no_grad():
        scores = F.cosine_similarity(head.layers(first), head.layers(second))
    return head.layers.state_dict() | {"threshold": torch.tensor(best_threshold(scores, pairs.same))}


def head_from(encoder: nn.Module, side: int, fitted: dict[str, Tensor]) -> PairHead:
    """The verification head with fitted weights, frozen."""
    dim, inputs = fitted["2.weight"].shape
    head = PairHead(encoder, side, inputs, dim)
    head.layers.load_state_dict({name: value for name, value in fitted.items() if name != "threshold"})
    return head.eval().requires_grad_(False)


def pair_goal(threat: str, head: PairHead, pairs: FacePairs, surrogate: PairHead) -> Objective:
    """What an attack on the first image of each pair raises: see `objective_for`, with "same" as the label."""
    if threat == "released":
        return objective_for("released", head, pairs.same.long())
    return verification(surrogate if threat == "transfer" else head, pairs.second, pairs.same)


def pair_answers(
    head: PairHead,
    threshold: float,
    threat: str,
    pairs: FacePairs,
    names: tuple[str, ...],
    surrogate: PairHead,
) -> dict[str, Tensor]:
    """Which pairs are judged rightly: "clean" (P,), and "right" (attacks, P) after attacks on their first images."""
    goal = pair_goal(threat, head, pairs, surrogate)
    moved = [pairs.first, *(attack(goal, pairs.first, SEVEN[name]) for name in names)]
    anchor = F.normalize(outputs_of(head, pairs.second), dim=1)
    scores = [(F.normalize(outputs_of(head, images), dim=1) * anchor).sum(1) for images in moved]
    right = torch.stack([(score >= threshold) == pairs.same for score in scores])
    return {"clean": right[0], "right": right[1:]}


# Action units ---------------------------------------------------------------------------------------------------------


def fitted_units(encoder: nn.Module, images: Tensor, present: Tensor, recipe: UnitRecipe) -> dict[str, Tensor]:
    """The weights of an action-unit probe on an encoder's features of images (n, 3, H, W)."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    return fit_unit_probe(encoder, features_of(encoder, images, device), present, recipe).layers.state_dict()


def unit_probe_from(encoder: nn.Module, fitted: dict[str, Tensor]) -> UnitProbe:
    """The action-unit probe with fitted weights, frozen."""
    units, inputs = fitted["1.weight"].shape
    probe = UnitProbe(encoder, inputs, units)
    probe.layers.load_state_dict(fitted)
    return probe.eval().requires_grad_(False)


def unit_goal(probe: nn.Module, present: Tensor) -> Objective:
    """The binary cross-entropy (n,) over all action units `present` (n, units) bool, to be raised."""

    def score(logits: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)

    device = next(probe.parameters()).device
    return Objective((probe,), probe, score, (present.float().to(device),))


def unit_answers(
    probe: nn.Module, target: nn.Module, x: Tensor, present: Tensor, names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Which units a probe sees: "clean" (n, units), and "seen" (attacks, n, units) after attacks made on `target`.

    target: the surrogate's probe (threat model "transfer") or the probe itself ("end to end").
    """
    goal = unit_goal(target, present)
    moved = [attack(goal, x, SEVEN[name]) for name in names]
    return {"clean": outputs_of(probe, x) > 0, "seen": torch.stack([outputs_of(probe, images) > 0 for images in moved])}


def mean_f1(seen: Tensor, present: Tensor) -> Tensor:
    """Mean over units of the binary F1 of seen and present (n, units), in per cent; 0 for a unit nowhere."""
    seen, present = seen.double(), present.double()
    both = (seen * present).sum(0)
    return 100 * (2 * both / (seen + present).sum(0).clamp_min(1)).mean()


# Tables ---------------------------------------------------------------------------------------------------------------


def shown(interval: Interval, digits: int = 1) -> str:
    """An interval for a narrow cell: the estimate and half the width of the interval, as 41.2 ± 3.1."""
    return f"{interval.estimate:.{digits}f} ± {(interval.high - interval.low) / 2:.{digits}f}"


def right_under(found: dict[str, Tensor], labels: LongTensor, name: str, names: tuple[str, ...] = NAMES) -> BoolTensor:
    """Which images (seeds, n) are right: "clean", under the attack `name`, or under "worst" of clean and all attacks.

    found: the `answers` of several trainings, stacked.
    """
    clean = found["clean"] == labels
    if name == "clean":
        return clean
    attacked = found["predictions"] == labels  # (seeds, attacks, n)
    return clean & attacked.all(1) if name == "worst" else attacked[:, names.index(name)]


def rate_of(right: BoolTensor) -> Interval:
    """The accuracy in per cent of right (seeds, n), trainings and images drawn."""
    return over_seeds(right).scaled(100)


def gap_of(first: BoolTensor, second: BoolTensor, seed: int = 0) -> Interval:
    """The accuracy of the first (seeds, n) less that of the second, in points, on the same images and trainings.

    Where one has one training and the other several, the one stands beside each of them.
    """
    seeds = max(len(first), len(second))
    pair = [part.expand(seeds, -1) for part in (first, second)]
    found = bootstrap_seeds_and_images(lambda a, b: a.double().mean() - b.double().mean(), *pair, seed=seed)
    return found.scaled(100)


def change_of_gaps(*right: BoolTensor, seed: int = 0) -> Interval:
    """(a - b) - (c - d) of the accuracies of right a, b, c, d (seeds, n), in points: one drop less another."""
    seeds = max(len(part) for part in right)
    parts = [part.double().expand(seeds, -1) for part in right]
    values = 100 * (parts[0] - parts[1] - parts[2] + parts[3])
    return bootstrap_seeds_and_images(lambda v: v.mean(), values, seed=seed)


def share_saved(base: BoolTensor, base_hit: BoolTensor, full: BoolTensor, hit: BoolTensor) -> Interval | None:
    """By how many per cent the drop of `full` is smaller than that of `base` (seeds, n), or None if `base` loses none.

    All trainings and images are drawn together; draws in which the base loses nothing are left out.
    """
    parts = [part.double() for part in (base, base_hit, full, hit)]

    def saved(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
        drop = (a - b).mean()
        return 100 * (1 - (c - d).mean() / drop) if drop > 0 else torch.tensor(float("nan"))

    return bootstrap_seeds_and_images(saved, *parts) if (parts[0] - parts[1]).mean() > 0 else None


def read_rightly(
    encoder: nn.Module, images: Tensor, labels: LongTensor, fits: dict[str, dict[str, Tensor]], looks: dict[str, str]
) -> dict[str, Tensor]:
    """Which images (n,), uint8, linear probes on one encoder read rightly; looks: of each fit, whose weights."""
    device = str(next((p.device for p in encoder.parameters()), "cpu"))
    features = features_of(encoder, images, device)
    found = {}
    for name, fitted in fits.items():
        scores = (features - fitted["mean"]) / fitted["std"] @ fitted[f"{looks[name]} weight"].T
        found[name] = (scores + fitted[f"{looks[name]} bias"]).argmax(1) == labels
    return found


def sweep_purifier(
    diffusion: nn.Module,
    classifier: nn.Module,
    images: dict[str, Tensor],
    labels: LongTensor,
    times: tuple[int, ...],
    plan: PurifierAttack,
) -> dict[str, Tensor]:
    """Accuracy of a purified classifier at each purification time, on each kind of held-out images: (times,) each."""
    side = next(iter(images.values())).shape[2]
    found: dict[str, list[float]] = {name: [] for name in images}
    for time in times:
        model = Purified(purifier_of(diffusion, time, side, plan.sampler_steps), classifier).eval()
        for name, moved in images.items():
            found[name].append(draws_right(model, moved, labels, plan.draws).double().mean().item())
    return {name: torch.tensor(values) for name, values in found.items()}


def draw_confusions(axes: Sequence[Axes], tables: dict[str, Tensor], names: Sequence[str]) -> None:
    """Confusion matrices of counts (classes, classes), one an axis: colour by row, counts in the cells (Fig 6)."""
    places = [at + 0.5 for at in range(len(names))]
    for axis, (title, table) in zip(axes, tables.items(), strict=True):
        shares = table / table.sum(1, keepdim=True).clamp_min(1)
        axis.pcolormesh(shares.numpy(), cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.5)
        for row, column in torch.cartesian_prod(*(torch.arange(len(names)),) * 2).tolist():
            ink = "white" if shares[row, column] > 0.5 else "black"
            middle = {"ha": "center", "va": "center", "fontsize": 8, "color": ink}
            axis.text(places[column], places[row], str(int(table[row, column])), **middle)
        axis.set(title=title, xticks=places, yticks=places, xlabel="answer")
        axis.set_xticklabels(names, rotation=90)
        first = axis.get_subplotspec().is_first_col()
        axis.set_yticklabels(names if first else [])
        axis.set_ylabel("true" if first else "")
        axis.tick_params(axis="both", labelsize=8, length=0)
        axis.invert_yaxis()
        axis.grid(False)


def f1_interval(
    terms: Sequence[tuple[int, Tensor]], present: Tensor, people: LongTensor, resamples: int = 1000, seed: int = 0
) -> Interval:
    """A sum of mean F1s in per cent, each with its sign, such as clean less attacked; people are drawn, not images.

    terms: (sign, seen), with the units seen (seeds, n, units) by each training. The trainings are averaged, not drawn.
    """
    draw = torch.Generator().manual_seed(seed)
    names, place = people.unique(return_inverse=True)
    chosen = torch.randint(len(names), (resamples, len(names)), generator=draw)
    weights = torch.zeros(resamples + 1, len(names), dtype=torch.double)
    weights[1:].scatter_add_(1, chosen, torch.ones_like(chosen, dtype=torch.double))
    weights[0] = 1  # the sample itself
    total = torch.zeros(resamples + 1, dtype=torch.double)
    for sign, seen in terms:
        for one in seen:
            total += sign * f1_draws(weights, one, present, place) / len(seen)
    low, high = total[1:].quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return Interval(total[0].item(), low, high, n=len(present), method="bootstrap over people")


def f1_draws(weights: Tensor, seen: Tensor, present: Tensor, place: LongTensor) -> Tensor:
    """`mean_f1` (draws,) of seen and present (n, units) when person place (n,) counts weights (draws, people) times."""
    both, either = (seen & present).double(), seen.double() + present.double()
    people = torch.zeros(weights.shape[1], present.shape[1], dtype=torch.double)
    hits, sizes = (weights @ people.index_add(0, place, part) for part in (both, either))
    return 100 * (2 * hits / sizes.clamp_min(1)).mean(1)
