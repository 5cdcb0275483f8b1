"""What page 11 measures: variants under three threat models, overlap of densities with intervals, groups, and costs.

bench = Bench(study, white=250, names=("PGD", "MIFGSM"))
scores = bench.scores([study.ablation("full", seed) for seed in study.scale.seeds], threats=("end to end",))
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, permutations

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier
from torch import LongTensor, Tensor, nn

from lib.book import plots
from lib.data.datasets.expression_classes import EXPRESSIONS
from lib.evaluation.collapse import collapse_of
from lib.evaluation.intervals import wilson
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images, over_seeds
from lib.interval import Interval
from lib.models.resnets import ResNet
from lib.studies.dar_sfrl.adversarial import TrunkClassifier
from lib.studies.dar_sfrl.attacks import EPS, SEVEN, convergence, objective_for, random_signs, withstood
from lib.studies.dar_sfrl.converged_probe import fit_logistic, logistic_of_images
from lib.studies.dar_sfrl.degradation_page import Degraded, degraded, restoration_gain
from lib.studies.dar_sfrl.evaluation import Probe, features_of, probe_from
from lib.studies.dar_sfrl.networks import Pixels, Restorer
from lib.studies.dar_sfrl.study import DARStudy
from lib.studies.dar_sfrl.threats import climbs
from lib.studies.dar_sfrl.training import LOSSES, PAPER, Objective

# The variants of Table 4 and Figs 5 and 7 by `DARStudy.ablation`'s words, from none of the two parts to both.
VARIANTS = {
    "baseline": "baseline",
    "no DAFR": "baseline + NOCL",
    "no NOCL": "baseline + DAFR",
    "full": "DAR-SFRL",
}
# The sizes of `study.SIZES` that page 11 needs.
ABLATION_SIZES = (
    *("side", "faces", "learn", "held", "test", "hidden", "dim", "mixer", "width", "pose_negatives"),
    *("batch", "dar_batch", "dar_rate", "dar_steps", "ablation_steps", "ssl_steps", "class_steps", "inner_steps"),
)
BINS = 512  # places of the densities of `overlap_draws`
ASLEEP = 0.02  # spread below which an encoder gives all faces nearly one feature, as on page 10
SMALL = "ResNet-18 at 32 pixels"  # the size that Table 8's operations fit
POOLED = 20_000  # values whose Scott width pooled densities have, as `pooled_overlap` draws them


def attacked_images(
    threat: str, network: nn.Module, x: Tensor, labels: LongTensor, names: Sequence[str], eps: str = EPS
) -> dict[str, Tensor]:
    """Images (n, 3, H, W) after each of the named attacks under a threat model, on the CPU.

    network: the probe, or under "transfer" the surrogate.
    """
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    x, labels = x.to(device), labels.to(device)
    goal = objective_for(threat, network, labels, network)
    return {name: images.cpu() for name, images in climbs(goal, x, tuple(names), eps).items()}


def stays_right(probe: nn.Module, labels: LongTensor, attacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which images (n,) stay correct under each attack, and under "worst" which do under all, on the CPU."""
    device = next(probe.parameters()).device
    moved = {name: images.to(device) for name, images in attacked.items()}
    return {name: right.cpu() for name, right in withstood(probe, labels.to(device), moved).items()}


@dataclass(frozen=True, eq=False)
class Bench:
    """One set of test images for all variants, their copies attacked on the surrogate, and kept scores.

    white: images that the released and the end-to-end attack move, the first of those. names: these attacks. A threat
    may name its budget where this is not 8/255: "end to end, 1/255". decays: penalties that a probe is chosen from.
    """

    study: DARStudy
    white: int
    names: tuple[str, ...] = ("PGD", "MIFGSM")
    decays: tuple[float, ...] = (0.01, 0.1, 0.3)

    @cached_property
    def test(self) -> tuple[Tensor, LongTensor]:
        """Test images (n, 3, side, side) in [0,1] and their expressions (n,)."""
        return self.study.expressions.part("test", self.study.scale.attacked)

    @cached_property
    def transferred(self) -> dict[str, Tensor]:
        """The test images after each of the seven attacks on the surrogate, a supervised classifier."""
        return self.study.run.kept(attacked_images, "transfer", self.study.classifier(), *self.test, tuple(SEVEN))

    @cached_property
    def held(self) -> Degraded:
        """Held-out faces, degraded as in training."""
        return degraded(self.study.expressions.part("held", self.study.scale.attacked)[0])

    def probe(self, encoder: nn.Module) -> Probe:
        """The encoder with a converged linear probe for expressions, as page 10 has it, frozen, on the run's device.

        The source's probe takes a few epochs of Adam; on raw pixels it then falls to a small budget that leaves a
        converged one far less harmed (page 10), so that it would tell of the probe and not of the variant.
        """
        data = self.study.expressions
        parts = {part: data.images[part] for part in ("learn", "held")}
        fitted = self.study.run.kept(logistic_of_images, encoder, parts, data.labels, self.decays)
        return probe_from(encoder, fitted).to(self.study.run.device)

    def attacked(self, encoder: nn.Module, threat: str) -> dict[str, Tensor]:
        """The first images after each attack on a variant's probe, "released" or "end to end"."""
        x, labels = (part[: self.white] for part in self.test)
        aim, _, eps = threat.partition(", ")
        probe = self.probe(encoder)
        return self.study.run.kept(attacked_images, aim, probe, x, labels, self.names, eps or EPS)

    def scores_of(self, encoder: nn.Module, threats: Sequence[str] = ()) -> dict[str, Tensor]:
        """Which images stay right: "clean", "transfer / UPGD" ..., "end to end / worst" ..., each (n,) bool."""
        probe, (x, labels) = self.probe(encoder), self.test
        plain = self.study.run.kept(stays_right, probe, labels, {"clean": x} | self.transferred)
        found = {"clean": plain.pop("clean")} | {f"transfer / {name}": right for name, right in plain.items()}
        for threat in threats:
            moved = self.attacked(encoder, threat)
            right = self.study.run.kept(stays_right, probe, labels[: self.white], moved)
            found |= {f"{threat} / {name}": value for name, value in right.items()}
        return found

    def scores(self, encoders: Iterable[nn.Module], threats: Sequence[str] = ()) -> dict[str, Tensor]:
        """The scores of several trainings of one variant, stacked: each (seeds, n) bool."""
        each = [self.scores_of(encoder, threats) for encoder in encoders]
        return {name: torch.stack([scores[name] for scores in each]) for name in each[0]}

    def moved(self, encoder: nn.Module, threat: str) -> Tensor:
        """Test images under PGD in a threat model, or under "signs": random ones of the size of the budget."""
        if threat == "signs":
            return random_signs(self.test[0], torch.Generator().manual_seed(0))
        return (self.transferred if threat == "transfer" else self.attacked(encoder, threat))["PGD"]

    def features(self, encoders: Sequence[nn.Module], threat: str = "transfer") -> tuple[Tensor, Tensor]:
        """Features of clean and of moved images: each (seeds, n, d); n is `white` if attacked one by one."""
        device, x = self.study.device, self.test[0]
        pairs = []
        for each in encoders:
            images = self.moved(each, threat)
            pairs.append((features_of(each, x[: len(images)], device), features_of(each, images, device)))
        clean, attacked = zip(*pairs, strict=True)
        return torch.stack(clean), torch.stack(attacked)

    def spreads(self, encoders: Sequence[nn.Module]) -> list[float]:
        """Spread of each encoder's features of the test images: 1 on an even sphere, 0 one feature for all faces."""
        found = [features_of(encoder, self.test[0], self.study.device) for encoder in encoders]
        return [collapse_of(features).spread for features in found]

    def gains(self, encoders: Sequence[Pixels]) -> Tensor:
        """The PSNR (seeds, n) in dB that restorers win on degraded held-out faces."""
        return torch.stack([self.study.run.kept(restoration_gain, each.restorer, self.held) for each in encoders])

    def unsettled(self, encoders: Sequence[nn.Module], count: int, steps: tuple[int, int], eps: str = EPS) -> Tensor:
        """Right after the fewer less right after more steps of PGD end to end, on `count` images: (seeds, count)."""
        x, labels = (part[:count].to(self.study.device) for part in self.test)
        few, many = steps
        found = []
        for encoder in encoders:
            probe = self.probe(encoder)
            right = self.study.run.kept(convergence, probe, x, labels, steps, 1, eps)
            found.append(right[few].double() - right[many].double())
        return torch.stack(found)


def restored(
    study: DARStudy,
    objective: Objective = PAPER,
    seeds: Sequence[int] = (),
    **changes: object,
) -> list[Pixels]:
    """Encoders of restored pixels, one of each seed (none given: the study's), after as many optimiser steps each.

    changes: fields of `Network`, as stages=2.
    """
    restorers = [study.short(seed, objective, **changes) for seed in seeds or study.scale.seeds]
    return [Pixels(restorer).to(study.run.device) for restorer in restorers]


def lead(first: Tensor, *others: Tensor) -> Tensor:
    """Accuracy of the first less that of the best of the others, each (seeds, n) bool, in points."""
    return 100 * (first.double().mean() - max(other.double().mean() for other in others))


def least_lead(base: Tensor, *others: Tensor) -> Tensor:
    """Least accuracy among the others less that of the base, each (seeds, n) bool, in points."""
    return 100 * (min(other.double().mean() for other in others) - base.double().mean())


def spread(*values: Tensor) -> Tensor:
    """Largest less smallest accuracy among (seeds, n) bool, in points."""
    means = torch.stack([value.double().mean() for value in values])
    return 100 * (means.max() - means.min())


def accuracy(right: Tensor, seed: int = 0) -> Interval:
    """Per cent of (seeds, n) bool that is right, trainings and images drawn."""
    return over_seeds(right, seed=seed).scaled(100)


def drop(clean: Tensor, attacked: Tensor, seed: int = 0) -> Interval:
    """Accuracy lost under attack in points, (seeds, n) bool both, trainings and images drawn together.

    clean may hold more images: the first count.
    """
    return paired(clean[:, : attacked.shape[1]].double() - attacked.double(), seed).scaled(100)


def between(first: Mapping[str, Tensor], second: Mapping[str, Tensor], name: str, seed: int = 0) -> Interval:
    """Drop of the first less drop of the second variant under one attack in points, both on the same images."""
    n = first[name].shape[1]
    drops = [of["clean"][:, :n].double() - of[name].double() for of in (first, second)]
    return paired(drops[0] - drops[1], seed).scaled(100)


def gap_under(first: Mapping[str, Tensor], second: Mapping[str, Tensor], names: Sequence[str]) -> Interval:
    """Accuracy of the first less that of the second variant in points, mean over the named scores, same images."""
    gaps = [first[name].double() - second[name].double() for name in names]
    return paired(torch.stack(gaps).mean(0)).scaled(100)


def extreme_drops(clean: Tensor, attacked: Sequence[Tensor], resamples: int = 1000) -> tuple[Interval, Interval]:
    """Smallest and largest drop among several attacks in points, (seeds, n) each.

    The extreme is taken anew in each draw of trainings and images, so that choosing it is part of the interval.
    """
    lost = [clean.double() - part.double() for part in attacked]
    if not torch.stack(lost).any():
        return paired(lost[0]).scaled(100), paired(lost[0]).scaled(100)

    def among(choose: Callable[..., Tensor]) -> Interval:
        return bootstrap_seeds_and_images(lambda *drops: choose(d.mean() for d in drops), *lost, resamples=resamples)

    return among(min).scaled(100), among(max).scaled(100)


def removal_orders(clean: Mapping[tuple[str, ...], Tensor]) -> dict[tuple[str, ...], list[Interval]]:
    """Points of clean accuracy lost at each step when NOCL's losses are removed, by the order of removal (Table 6).

    clean: which images (seeds, n) are right, by the losses that were kept.
    """
    found = {}
    for order in permutations(name for name in LOSSES if name != "mae"):
        sets = [tuple(name for name in LOSSES if name not in order[:gone]) for gone in range(len(order) + 1)]
        steps = [clean[more].double() - clean[less].double() for more, less in pairwise(sets)]
        found[order] = [paired(step).scaled(100) for step in steps]
    return found


def paired(differences: Tensor, seed: int = 0) -> Interval:
    """Mean of differences (seeds, n) of answers on the same images, trainings and images drawn.

    Where no answer differs, a bootstrap sees nothing vary: then the bound is Wilson's for none of n, on both sides.
    """
    if differences.any():
        return over_seeds(differences.double(), seed=seed)
    n = differences.shape[1]
    most = wilson(0, n).high
    return Interval(0.0, -most, most, n=n, method=f"Wilson of {n} units, both sides")


def overlap_draws(clean: Tensor, attacked: Tensor, resamples: int = 1000, seed: int = 0) -> Tensor:
    """Overlap of the densities of features (seeds, n, d): of all, then of each draw of trainings and images.

    Gives (1 + resamples,): draws of equal seed are those of the same images, so that differences are paired. Gaussian
    kernels of Scott's width of all values of a part, or of `POOLED` if these are more; values are counted in bins, so
    that a draw costs a product of matrices.
    """
    draw = torch.Generator().manual_seed(seed)
    trainings, n = clean.shape[:2]
    picks = [torch.randint(count, (resamples, count), generator=draw) for count in (trainings, n)]
    seeds, images = (torch.nn.functional.one_hot(pick, pick.shape[1]).double().mean(1) for pick in picks)
    seeds, images = (torch.cat([torch.full((1, part.shape[1]), 1 / part.shape[1]), part]) for part in (seeds, images))
    each = [_overlaps(*pair, images) for pair in zip(clean, attacked, strict=True)]
    return (seeds * torch.stack(each, dim=1)).sum(1)


def _overlaps(clean: Tensor, attacked: Tensor, weights: Tensor) -> Tensor:
    """Overlaps (r,) of values (n, d) of a training for weights (r, n) of its images."""
    spreads = [float(part.double().std()) for part in (clean, attacked)]
    if min(spreads) < 1e-12:
        equal = max(spreads) < 1e-12 and abs(float(clean.double().mean() - attacked.double().mean())) < 1e-12
        return torch.full((len(weights),), float(equal)).double()
    places, densities = _densities(clean, attacked, weights)
    return torch.minimum(*densities).sum(1) * (places[1] - places[0])


def _densities(clean: Tensor, attacked: Tensor, weights: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Places (`BINS`,) and there the kernel densities (r, `BINS`) of both parts for weights (r, n) of the images."""
    parts = [part.double() for part in (clean, attacked)]
    widths = [part.std() * min(part.numel(), POOLED) ** -0.2 for part in parts]
    low = min(part.min() for part in parts) - 4 * max(widths)
    step = (max(part.max() for part in parts) + 4 * max(widths) - low) / (BINS - 1)
    places = low + step * torch.arange(BINS)
    densities = []
    for part, width in zip(parts, widths, strict=True):
        counts = torch.zeros(len(part), BINS).double()
        counts.scatter_add_(1, ((part - low) / step).round().long(), torch.ones_like(part))
        kernel = torch.exp(-(((places[:, None] - places) / width) ** 2) / 2)
        kernel = kernel / (kernel.sum(1, keepdim=True) * step)
        densities.append(weights @ counts @ kernel / part.shape[1])
    return places, densities


def blind_features(features: Tensor, count: int, seed: int = 0) -> Tensor:
    """Features (count, d) that ignore every image: the mean of features (n, d), and noise of a tenth of their width."""
    noise = torch.randn(count, features.shape[1], generator=torch.Generator().manual_seed(seed))
    return features.mean(0) + 0.1 * features.std(0) * noise


def blind_probe(features: Tensor, labels: Mapping[str, LongTensor], decays: tuple[float, ...]) -> Tensor:
    """Which test images (n,) a probe on `blind_features` names rightly; it can learn how frequent a class is.

    labels: of the parts "learn", "held" and "test".
    """
    parts = {name: blind_features(features, len(labels[name]), seed) for seed, name in enumerate(labels)}
    fitted = fit_logistic(parts["learn"], labels["learn"], (parts["held"], labels["held"]), decays)
    return probe_from(nn.Identity(), fitted)(parts["test"]).argmax(1) == labels["test"]


def halves(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (seeds, n, d) of one half of the images and of the other: what differs where nothing was done."""
    middle = features.shape[1] // 2
    return features[:, :middle], features[:, middle : 2 * middle]


def density_curves(clean: Tensor, attacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places and there the kernel densities of two sets of features (n, d) of one training, to be drawn."""
    places, densities = _densities(clean, attacked, torch.full((1, len(clean)), 1 / len(clean)).double())
    return places, densities[0][0], densities[1][0]


def draw_overlap(axis: Axes, clean: Tensor, attacked: Tensor) -> None:
    """Draw the kernel densities of two sets of features (n, d) of one training, and what lies under both."""
    places, p, q = (part[::3] for part in density_curves(clean, attacked))  # smooth: fewer points draw the same
    axis.fill_between(places, torch.minimum(p, q), color=plots.SKY, alpha=0.4, linewidth=0, label="overlap")
    axis.plot(places, p, color=plots.BLUE, label="clean")
    axis.plot(places, q, color=plots.RED, linestyle="--", label="attacked")
    low, high = places[p + q > 0.01 * (p + q).max()][[0, -1]].tolist()
    axis.set(yticks=[], xlim=(low, high))


def draw_points(planes: Sequence[Tensor], labels: LongTensor, titles: Sequence[str]) -> Figure:
    """Points (n, 2) of each variant in a panel, a colour and a marker for each expression of `labels` (n,)."""
    figure, axes = plots.panels(1, len(planes), height=2.1)
    for axis, plane, title in zip(axes[0], planes, titles, strict=True):
        for index, place in enumerate(labels.unique().tolist()):
            style = {"color": plots.COLOURS[index], "marker": plots.MARKERS[index], "s": 9, "linewidths": 0}
            axis.scatter(*plane[labels == place].T, label=EXPRESSIONS[place], **style)
        axis.set(xticks=[], yticks=[], title=title)
        axis.set_aspect("equal", "datalim")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(labels.unique()))
    return figure


def on_first_axis(clean: Tensor, attacked: Tensor) -> tuple[Tensor, Tensor]:
    """Features (seeds, n, d) as their scores (seeds, n, 1) on each training's first principal axis of both together."""
    found = []
    for pair in zip(clean, attacked, strict=True):
        both = torch.cat(pair).double()
        both = both - both.mean(0)
        gram = both @ both.T
        values, vectors = torch.linalg.eigh(gram)
        found.append((values[-1].clamp_min(0).sqrt() * vectors[:, -1:]).view(2, -1, 1))
    scores = torch.stack(found, dim=1)
    return scores[0], scores[1]


def interval_of(draws: Tensor, n: int = 0, level: float = 0.95) -> Interval:
    """The interval of draws (1 + resamples,), the first of which is the estimate; it holds the estimate.

    Drawn images repeat, and densities of repeated images overlap less: the draws alone may lie below the estimate.
    """
    low, high = draws[1:].quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    estimate = float(draws[0])
    return Interval(estimate, min(low, estimate), max(high, estimate), level, n)


def groups(features: Tensor, labels: LongTensor, neighbours: int = 5) -> dict[str, Tensor]:
    """How each of the features (n, d) stands to its class: its "silhouette" (n,), and whether "kNN" names it (n,) bool.

    Their means are `grouping`; a point is not its own neighbour.
    """
    x, y = features.numpy(), labels.numpy()
    near = KNeighborsClassifier(neighbours).fit(x, y).kneighbors(return_distance=False)
    votes = torch.from_numpy(y[near]).mode(1).values
    return {"silhouette": torch.from_numpy(silhouette_samples(x, y)).double(), "kNN": votes == labels}


def embedded(features: Tensor, method: str, seed: int = 0) -> Tensor:
    """Features (n, d) drawn in a plane (n, 2) by "t-SNE" or "UMAP", at the libraries' settings."""
    x = features.numpy()
    if method == "UMAP":
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of threads, and of what the library's own parts deprecate
            from umap import UMAP

            found = UMAP(n_neighbors=min(15, len(x) - 1), random_state=seed).fit_transform(x)
    else:
        from sklearn.manifold import TSNE

        found = TSNE(perplexity=min(30.0, len(x) / 4), random_state=seed).fit_transform(x)
    return torch.from_numpy(np.asarray(found, dtype=np.float64))


def with_probe(encoder: nn.Module, side: int, classes: int = len(EXPRESSIONS)) -> nn.Module:
    """An encoder behind which a linear probe of the right size stands, untrained: for counting and timing."""
    d = encoder(torch.zeros(1, 3, side, side)).shape[1]
    return Probe(encoder, torch.zeros(d), torch.ones(d), torch.zeros(classes, d), torch.zeros(classes)).eval()


def all_weights(model: nn.Module) -> int:
    """Distinct weights of a network, frozen ones and those of its probe included."""
    return sum(weight.numel() for weight in model.parameters())


def table_8_networks(side: int = 64) -> dict[str, nn.Module]:
    """What each method of Table 8 computes at test time on faces of `side` pixels, untrained, and controls of ours.

    TRADES, ACL and RoCL all classify with one and the same ResNet-18 of full width, which `SMALL` shows at 32 pixels;
    DAR-SFRL restores and then reads the pixels.
    """
    rivals = dict.fromkeys(("TRADES", "ACL", "RoCL"), with_probe(ResNet().eval(), side))
    dar = with_probe(Pixels(Restorer().eval()), side)
    ours = {SMALL: with_probe(ResNet().eval(), 32), "PCL's encoder": TrunkClassifier(side, 64, len(EXPRESSIONS)).eval()}
    return rivals | {"DAR-SFRL": dar} | ours


@torch.no_grad()
def time_in_turns(models: Mapping[str, nn.Module], images: Mapping[str, Tensor], rounds: int) -> dict[str, Tensor]:
    """Seconds per image (rounds,) of each model on its images, one model after the other in every round.

    So a machine that slows down slows all of them. A first round that nobody counts warms up. A GPU works behind the
    back of the clock, so it is waited for before each look.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            began = _clock(images[name])
            model(images[name])
            seconds[name].append((_clock(images[name]) - began) / len(images[name]))
    return {name: torch.tensor(values[1:]).double() for name, values in seconds.items()}


def _clock(x: Tensor) -> float:
    """Seconds, read when the device of `x` has done its work."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return time.perf_counter()


def ratio(first: Tensor, second: Tensor, resamples: int = 1000, seed: int = 0) -> Interval:
    """Median of the ratios of two times (rounds,) of the same rounds, rounds drawn."""
    ratios = first / second
    draw = torch.Generator().manual_seed(seed)
    medians = ratios[torch.randint(len(ratios), (resamples, len(ratios)), generator=draw)].median(1).values
    return interval_of(torch.cat([ratios.median()[None], medians]), len(ratios))
