"""ANCRA as pages 12 to 14 share it: one table of sizes, one choice of pictures, trainings that are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
from torch import LongTensor, Tensor, nn

from lib.book.run import Run, per_profile
from lib.data.examples import LabelledImages
from lib.defences.registry import System, register_system
from lib.errors import WorkbookError, choices
from lib.evaluation.effects import mean_where
from lib.evaluation.two_way_bootstrap import bootstrap_seeds_and_images, over_seeds
from lib.interval import Interval
from lib.papers import table
from lib.studies.ancra.adaptive_attacks import STEPPED, adaptive_attacks, official
from lib.studies.ancra.adversarial_training import ANCRATraining
from lib.studies.ancra.attacks import source_attacks
from lib.studies.ancra.awp_sat import AWP, SAT
from lib.studies.ancra.classifiers import GatedClassifier
from lib.studies.ancra.contrast import Predictions, missing
from lib.studies.ancra.evaluation import FeaturePairs
from lib.studies.ancra.fair_ard import FairARD
from lib.studies.ancra.feature_gap import TEN_STEPS, gaps
from lib.studies.ancra.s2o import S2O
from lib.studies.ancra.training import Network, RobustError, train_classifier
from lib.studies.base import Study
from lib.studies.pages import for_page
from lib.training.adversarial import AdversarialTraining
from lib.training.batches import resize_uint8
from lib.training.loop import Loss, Recipe, Trained

# Rows for `run.scale`. `every`: of CIFAR-10's ten classes every second one at laptop scale.
SIZES = {
    "every": per_profile(2, 2, 1, 1),
    "train": per_profile(128, 6000, 49000, 49000),
    "held": per_profile(24, 300, 1000, 1000),
    "test": per_profile(30, 500, 2000, 10000),
    "width": per_profile(4, 8, 64, 64),
    "stem": per_profile("half", "half", "small", "small"),
    "epochs": per_profile(2, 8, 30, 120),
    "batch": per_profile(32, 64, 128, 128),
    "rate": per_profile(0.1, 0.1, 0.1, 0.01),
    "schedule": per_profile("cosine", "cosine", "cosine", "falls"),
    "inner_steps": per_profile(2, 5, 10, 10),
    "seeds": per_profile([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]),
}
FALLS = ((75 / 120, 0.1), (90 / 120, 0.01), (100 / 120, 0.001))  # of the rate: the source's epochs 75, 90, 100 of 120
REACH = 10 * 0.007  # the source's ten steps; fewer of them walk as far
WARM = 0.25  # share of the epochs before SAT moves its targets; its release has 0.7, too late for a short training
ZETA = 3.0  # of the source, like alpha = 1
# what a method trains: its base, and what ANCRA adds to it; reverse attention has two gates
METHODS: dict[str, dict] = {
    "natural": {"base": "natural"},
    "PGD-AT": {"base": "PGD-AT"},
    "TRADES": {"base": "TRADES"},
    "MART": {"base": "MART"},
    "PGD-AT-ANCRA": {"base": "PGD-AT", "zeta": ZETA, "gates": 2},
    "TRADES-ANCRA": {"base": "TRADES", "zeta": ZETA, "gates": 2},
    "MART-ANCRA": {"base": "MART", "zeta": ZETA, "gates": 2},
    "TRADES-ANC": {"base": "TRADES", "zeta": ZETA},
    "TRADES-RA": {"base": "TRADES", "gates": 2},
}
BASELINES = ("SAT", "AWP", "S2O", "FairARD")


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images (n, 3, side, side) uint8 and labels (n,) from 0 of three parts that share no image; the set's name."""

    name: str
    images: dict[str, Tensor]
    labels: dict[str, LongTensor]
    classes: list[str]

    def part(self, name: str) -> LabelledImages:
        """Images in [0,1] with labels, of "train", "held" or "test"."""
        if name not in self.images:
            raise WorkbookError(f"The pictures have the parts {choices(list(self.images))}, not '{name}': choose one.")
        return LabelledImages(self.images[name].float() / 255, self.labels[name])


def pictures_for(run: Run, scale: SimpleNamespace, name: str = "cifar10", side: int = 32) -> Pictures:
    """A part of the set `name`, as pictures of `side` pixels; at smoke scikit-learn's digits, of 16.

    Train and held-out images come from the set's own training part, test images from its test part; which ones is drawn
    once and does not depend on the run's seed.
    """
    images = for_page(run, name)
    side = 16 if run.smoke else side
    known = [label for label in range(len(images.classes)) if label % scale.every == 0]
    test = images.splits["test" if "test" in images.splits else "val"]
    held, train = split_by_class(images.labels, images.splits["train"], known, [scale.held, scale.train])
    (tested,) = split_by_class(images.labels, test, known, [scale.test])
    place = {"train": train, "held": held, "test": tested}
    number = torch.zeros(len(images.classes), dtype=torch.long).scatter(
        0, torch.tensor(known), torch.arange(len(known))
    )
    return Pictures(
        images.name,
        {part: resize_uint8(images, index, side) for part, index in place.items()},
        {part: number[images.labels[index]] for part, index in place.items()},
        [images.classes[label] for label in known],
    )


def split_by_class(labels: Tensor, index: LongTensor, known: Sequence[int], sizes: Sequence[int]) -> list[LongTensor]:
    """Parts of up to `sizes` images of the classes `known`, drawn from the images `index` (m,) without overlap."""
    mine = index[torch.isin(labels[index], torch.tensor(known))]
    mine = mine[torch.randperm(len(mine), generator=torch.Generator().manual_seed(0))]
    if len(mine) < sum(sizes[:-1]) + 1:
        raise WorkbookError(f"{len(mine)} images do not suffice for parts of {list(sizes)}: ask for fewer.")
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [mine[end - size : end] for end, size in zip(ends, sizes, strict=True)]


class ANCRAStudy(Study):
    """The trainings of ANCRA's pages on one choice of pictures, each done once and kept; and how they are compared.

    Values are (seeds, n); every interval draws trainings and images (see `lib.evaluation.two_way_bootstrap`).
    """

    def __init__(self, run: Run, scale: SimpleNamespace, pictures: Pictures, family: str = "resnet"):
        super().__init__(run, scale)
        self.pictures = pictures
        self.family = family
        self.images = pictures.images["train"].to(run.device)
        self.labels = pictures.labels["train"]
        held = pictures.part("held")
        self.measure = RobustError(held.x, held.labels, steps=max(2, scale.inner_steps))

    def mean(self, values: Tensor) -> Interval:
        """Mean of values (seeds, n)."""
        return over_seeds(values, seed=self.run.seed)

    def percent(self, values: Tensor) -> Interval:
        """Mean of values or flags (seeds, n), in per cent."""
        return self.mean(100 * values.double())

    def points(self, first: Tensor, second: Tensor) -> Interval:
        """Mean of `first` less `second`, of the same images and seeds (seeds, n), in percentage points."""
        return self.percent(first.double() - second.double())

    def setting(self, images: int, seeds: int) -> str:
        """The setting of a number on test images, for tables and the ledger."""
        classes = f"{len(self.pictures.classes)} classes"
        network = f"ResNet-18 of width {self.scale.width}"
        return f"{images} test images of {self.pictures.name}, {classes}, {seeds} seed(s), {network}"

    def leave_out(self, item: str, line: str, note: str) -> None:
        """Record every printed cell of a row as not measured here, for the reason `note`."""
        for column in table("ancra", item).loc[line].dropna().index:
            self.run.record("ancra", item, (line, column), None, note=note)

    def each(
        self, function: Callable[..., object], models: Sequence[nn.Module], *arguments: object, **settings
    ) -> list:
        """The kept result `function(model, *arguments, **settings)` of every model."""
        return [self.run.kept(function, model, *arguments, **settings) for model in models]

    def autoattacks(
        self,
        models: Sequence[GatedClassifier],
        examples: LabelledImages,
        view: str = "final",
        version: str = "standard",
        **options: int,
    ) -> list[dict]:
        """`official` AutoAttack on a view of every model; of one without gates every view is the model itself."""
        return [
            self.run.kept(official, model, examples, view if model.gates else "final", version=version, **options)
            for model in models
        ]

    def judged(self, models: Sequence[GatedClassifier], attacks: Sequence[str] = ("PGD",)) -> dict[str, Tensor]:
        """Which test images each model answers correctly: clean, under the source's attacks, under all of them.

        "Nat" and the attacks (models, n), "total ..." for the attacks on the total loss, which without gates are the
        same; "worst" (models, k) of the first images, under PGD and all of `adaptive_attacks`. Sizes are the scale's
        tested, attacked, source_steps, adaptive_steps and targets.
        """
        s = self.scale
        tested = self.pictures.part("test").rows(slice(s.tested))
        few = tested.rows(slice(s.attacked))
        how = {"attacks": attacks, "steps": s.source_steps, "seed": self.run.seed}
        plain = self.for_each(source_attacks, models, tested, **how)
        total = self.for_each(source_attacks, models, tested, heads="total", **how) if models[0].gates else plain
        options = {"settings": STEPPED.but(steps=s.adaptive_steps), "targets": s.targets, "seed": self.run.seed}
        known = self.for_each(adaptive_attacks, models, few, **options)
        worst = torch.stack([*known.values(), plain["PGD"][:, : s.attacked]]).all(0)
        return plain | {f"total {name}": total[name] for name in attacks} | {"worst": worst}

    def missing_negatives(
        self, logits: Sequence[Tensor], strategy: str, batch: int, classes: int | None = None
    ) -> Tensor:
        """Share of anchors without a negative in random batches of training images: (seeds, draws).

        logits (n, K) of the training images by each seed's model; see `missing`.
        """
        how = (batch, classes, self.scale.draws, self.run.seed)
        return torch.stack([missing(strategy, Predictions.of(part, self.labels), *how) for part in logits])

    def feature_pairs(self, nets: Mapping[str, Sequence[GatedClassifier]], examples: LabelledImages) -> FeaturePairs:
        """The kept `gaps` of every network on the examples, under `scale.steps` steps."""
        settings = TEN_STEPS.but(steps=self.scale.steps, step=REACH / self.scale.steps)
        found = {}
        for name, models in nets.items():
            parts = self.each(gaps, models, examples, settings=settings, seed=self.run.seed)
            found[name] = {
                pair: {key: torch.stack([part[pair][key] for part in parts]) for key in parts[0][pair]}
                for pair in parts[0]
            }
        return FeaturePairs(found)

    def mean_of(self, values: Tensor, which: Tensor) -> str:
        """Mean of some of the values (seeds, n) with its interval, as text; a dash where there are none."""
        if not which.any():
            return "–"
        return format(bootstrap_seeds_and_images(mean_where, values, which, seed=self.run.seed), ".2f")

    def claim_halves(self, id: str, statistic: Callable[..., float], *sides: Tensor) -> None:
        """Judge a difference of halves of two kinds of pairs, where all of the halves exist.

        sides: values and which of them are switched (seeds, n), of the one kind and of the other.
        """
        if all(0 < part.double().mean() < 1 for part in sides[1::2]):
            self.run.claim(id, bootstrap_seeds_and_images(statistic, *sides, seed=self.run.seed))
        else:
            self.run.claim(id, None, "in one of the networks no mask was switched, or every one")

    def network(self, gates: int = 0) -> Network:
        """The classifier at this scale."""
        s = self.scale
        return Network(len(self.pictures.classes), self.family, 18, s.width, s.stem, gates)

    def recipe_for(self, seed: int = 0, epochs: int | None = None) -> Recipe:
        """The source's SGD; its rate falls by a cosine, or in the source's three steps. Looked at four times."""
        s = self.scale
        steps = max(1, (epochs or s.epochs) * len(self.images) // min(s.batch, len(self.images)))
        source = {"falls": FALLS} if s.schedule == "falls" else {"warmup": steps // 20}
        settings = {"optimiser": "sgd", "weight_decay": 2e-4, "clip": 5.0, "seed": seed, "schedule": s.schedule}
        return self.recipe(steps, s.batch, s.rate, looks=4, **source, **settings)

    def loss(self, name: str, seed: int = 0, **changes: object) -> Loss:
        """What `name` of `METHODS` or `BASELINES` minimises; changes: fields of `ANCRATraining`."""
        s = self.scale
        inner = {"steps": s.inner_steps, "step": REACH / s.inner_steps}
        if name in METHODS:
            settings = {key: value for key, value in METHODS[name].items() if key != "gates"}
            kind = ANCRATraining if METHODS[name].keys() & {"zeta", "gates"} else AdversarialTraining
            return kind(self.images, self.labels, **inner, **settings | changes)
        if name == "AWP":
            return AWP(AdversarialTraining(self.images, self.labels, **inner))
        if name == "SAT":
            return SAT(self.images, self.labels, **inner, warmup=WARM * s.epochs)
        if name == "S2O":
            return S2O(self.images, self.labels, **inner)
        if name == "FairARD":
            return FairARD(self.images, self.labels, **inner, teacher=self.model("TRADES", seed))
        raise WorkbookError(f"There is no method '{name}': choose one of {choices([*METHODS, *BASELINES])}.")

    def training(self, name: str, seed: int = 0, epochs: int | None = None, **changes: object) -> Trained:
        """Weights and history of one training; changes: fields of `ANCRATraining`, such as alpha=0.5."""
        loss = self.loss(name, seed, **changes)
        measure = None if name == "natural" else self.measure  # without a defence no early weights are to be preferred
        network = self.network(gates_of(name))
        return self.trained(
            train_classifier, loss, len(self.images), network, self.recipe_for(seed, epochs), measure, self.device
        )

    def model(self, name: str, seed: int = 0, epochs: int | None = None, **changes: object) -> GatedClassifier:
        """The trained classifier, frozen, in eval mode, on the run's device."""
        network = self.network(gates_of(name))
        return network.loaded(self.training(name, seed, epochs, **changes)).to(self.run.device)

    def models(self, name: str, seeds: Sequence[int], **changes: object) -> list[GatedClassifier]:
        """The trained classifier of each seed."""
        return [self.model(name, seed, **changes) for seed in seeds]


def gates_of(name: str) -> int:
    """Gates of a method or baseline."""
    return METHODS.get(name, {}).get("gates", 0)


def built(study: ANCRAStudy, seed: int = 0, *, name: str) -> GatedClassifier:
    """The classifier of a registered system."""
    return study.model(name, seed)


SAYS = "A classifier of small pictures trained by {} as in ANCRA's comparison."
for method in (*METHODS, *BASELINES):
    known = ("white box", "adaptive", "transfer", "black box")
    threats = known if gates_of(method) else tuple(threat for threat in known if threat != "adaptive")
    register_system(System(method, "classifier", threats, SAYS.format(method), partial(built, name=method)))
