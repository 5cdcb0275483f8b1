"""What page 11 measures: variants under three threat models, overlap of densities with intervals, groups, and costs.

bench = Bench(study, white=250, names=("PGD", "MIFGSM"))
scores = bench.scores([study.ablation("full", seed) for seed in study.scale.seeds], threats=("end to end",))
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import silhouette_samples
from sklearn.neighbors import KNeighborsClassifier
from torch import LongTensor, Tensor, nn

from lib.book import plots
from lib.data.datasets.expression_classes import EXPRESSIONS
from lib.evaluation.intervals import wilson
from lib.evaluation.two_way_bootstrap import over_seeds
from lib.interval import Interval
from lib.models.resnets import ResNet
from lib.studies.dar_sfrl.adversarial import TrunkClassifier
from lib.studies.dar_sfrl.attacks import SEVEN, attack, objective_for, withstood
from lib.studies.dar_sfrl.evaluation import Probe, features_of
from lib.studies.dar_sfrl.networks import Pixels, Restorer
from lib.studies.dar_sfrl.study import DARStudy
from lib.studies.dar_sfrl.training import STEPWISE, Objective

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
    *("batch", "dar_batch", "ablation_steps", "class_steps", "inner_steps", "probe_epochs"),
)
BINS = 512  # places of the densities of `overlap_draws`
POOLED = 20_000  # values whose Scott width pooled densities have, as `pooled_overlap` draws them


def attacked_images(
    threat: str,
    probe: nn.Module,
    x: Tensor,
    labels: LongTensor,
    names: Sequence[str],
    surrogate: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Images (n, 3, H, W) after each of the named attacks under a threat model, on the CPU."""
    device = next((weight.device for weight in probe.parameters()), torch.device("cpu"))
    x, labels = x.to(device), labels.to(device)
    goal = objective_for(threat, probe, labels, surrogate)
    return {name: attack(goal, x, SEVEN[name]).cpu() for name in names}


def stays_right(probe: nn.Module, labels: LongTensor, attacked: dict[str, Tensor]) -> dict[str, Tensor]:
    """Which images (n,) stay correct under each attack, and under "worst" which do under all, on the CPU."""
    device = next(probe.parameters()).device
    moved = {name: images.to(device) for name, images in attacked.items()}
    return {name: right.cpu() for name, right in withstood(probe, labels.to(device), moved).items()}


@dataclass(frozen=True, eq=False)
class Bench:
    """One set of test images for all variants, their copies attacked on the surrogate, and kept scores.

    white: images that the released and the end-to-end attack move, the first of those. names: these attacks.
    """

    study: DARStudy
    white: int
    names: tuple[str, ...] = ("PGD", "MIFGSM")

    @cached_property
    def test(self) -> tuple[Tensor, LongTensor]:
        """Test images (n, 3, side, side) in [0,1] and their expressions (n,)."""
        return self.study.expressions.part("test", self.study.scale.attacked)

    @cached_property
    def transferred(self) -> dict[str, Tensor]:
        """The test images after each of the seven attacks on the surrogate, a supervised classifier."""
        surrogate = self.study.classifier()
        return self.study.run.kept(attacked_images, "transfer", surrogate, *self.test, tuple(SEVEN), surrogate)

    def attacked(self, encoder: nn.Module, threat: str) -> dict[str, Tensor]:
        """The first images after each attack on a variant's probe, "released" or "end to end"."""
        x, labels = (part[: self.white] for part in self.test)
        return self.study.run.kept(attacked_images, threat, self.study.probe(encoder), x, labels, self.names)

    def scores_of(self, encoder: nn.Module, threats: Sequence[str] = ()) -> dict[str, Tensor]:
        """Which images stay right: "clean", "transfer / UPGD" ..., "end to end / worst" ..., each (n,) bool."""
        probe, (x, labels) = self.study.probe(encoder), self.test
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

    def features(self, encoders: Sequence[nn.Module], threat: str = "transfer") -> tuple[Tensor, Tensor]:
        """Features of clean images and of those under PGD: each (seeds, n, d); n is `white` if attacked one by one."""
        device, x = self.study.device, self.test[0]
        moved = [self.transferred if threat == "transfer" else self.attacked(each, threat) for each in encoders]
        pairs = [
            (features_of(each, x[: len(images["PGD"])], device), features_of(each, images["PGD"], device))
            for each, images in zip(encoders, moved, strict=True)
        ]
        clean, attacked = zip(*pairs, strict=True)
        return torch.stack(clean), torch.stack(attacked)


def restored(
    study: DARStudy, objective: Objective = STEPWISE, seeds: Sequence[int] = (), **changes: object
) -> list[Pixels]:
    """Encoders of restored pixels, one of each seed (none given: the study's), all trained for `ablation_steps`.

    changes: fields of `Network`, as stages=2 or operator="CNN".
    """
    steps = study.scale.ablation_steps
    restorers = [study.restorer(seed, objective, steps, **changes) for seed in seeds or study.scale.seeds]
    return [Pixels(restorer).to(study.run.device) for restorer in restorers]


def lead(first: Tensor, *others: Tensor) -> Tensor:
    """Accuracy of the first less that of the best of the others, each (seeds, n) bool, in points."""
    return 100 * (first.double().mean() - max(other.double().mean() for other in others))


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


def density_curves(clean: Tensor, attacked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Places and there the kernel densities of two sets of features (n, d) of one training, to be drawn."""
    places, densities = _densities(clean, attacked, torch.full((1, len(clean)), 1 / len(clean)).double())
    return places, densities[0][0], densities[1][0]


def draw_overlap(axis: Axes, clean: Tensor, attacked: Tensor) -> None:
    """Draw the kernel densities of two sets of features (n, d) of one training, and what lies under both."""
    places, p, q = density_curves(clean, attacked)
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
    """The interval of draws (1 + resamples,), the first of which is the estimate."""
    low, high = draws[1:].quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]).double()).tolist()
    return Interval(float(draws[0]), low, high, level, n)


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


def table_8_networks(side: int = 64) -> dict[str, nn.Module]:
    """What each method of Table 8 computes at test time on faces of `side` pixels, untrained, and a control of ours.

    TRADES, ACL and RoCL all classify with one and the same ResNet-18 of full width; DAR-SFRL restores and then reads
    the pixels.
    """
    rivals = dict.fromkeys(("TRADES", "ACL", "RoCL"), with_probe(ResNet().eval(), side))
    dar = with_probe(Pixels(Restorer().eval()), side)
    return rivals | {"DAR-SFRL": dar, "PCL's encoder": TrunkClassifier(side, 64, len(EXPRESSIONS)).eval()}


@torch.no_grad()
def time_in_turns(models: Mapping[str, nn.Module], x: Tensor, rounds: int) -> dict[str, Tensor]:
    """Seconds per image (rounds,) of each model on images x, one model after the other in every round.

    So a machine that slows down slows all of them. A first round that nobody counts warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds + 1):
        for name, model in models.items():
            began = time.perf_counter()
            model(x)
            seconds[name].append((time.perf_counter() - began) / len(x))
    return {name: torch.tensor(values[1:]).double() for name, values in seconds.items()}


def ratio(first: Tensor, second: Tensor, resamples: int = 1000, seed: int = 0) -> Interval:
    """Median of the ratios of two times (rounds,) of the same rounds, rounds drawn."""
    ratios = first / second
    draw = torch.Generator().manual_seed(seed)
    medians = ratios[torch.randint(len(ratios), (resamples, len(ratios)), generator=draw)].median(1).values
    return interval_of(torch.cat([ratios.median()[None], medians]), len(ratios))
