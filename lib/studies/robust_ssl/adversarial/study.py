"""Self-adversarial training as pages 18 and 19 share it: one table of sizes, kept trainings, one way to judge them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import LongTensor, Tensor, nn

from lib.book.run import Run, per_profile
from lib.errors import WorkbookError, choices
from lib.studies.robust_ssl.adversarial.advcl import AdvCL, pseudo_labels
from lib.studies.robust_ssl.adversarial.deacl import DeACL
from lib.studies.robust_ssl.adversarial.dynacl import DynACL, DynACLOptions
from lib.studies.robust_ssl.adversarial.finetuning import FineTuning, fine_tune, share_of
from lib.studies.robust_ssl.adversarial.methods import Aids, Options, SelfAdversarial, SimCLR
from lib.studies.robust_ssl.adversarial.networks import OneRoute, RoutedEncoder
from lib.studies.robust_ssl.adversarial.robustness import Judges, RobustWatch, TunedWatch, rights_under
from lib.studies.robust_ssl.adversarial.strength import Strength
from lib.studies.robust_ssl.adversarial.training import SELF_AT, SelfATPlan, self_at, step_passes, train_self_at
from lib.studies.robust_ssl.networks import Sizes
from lib.studies.robust_ssl.probes import ProbeRecipe, features_of, fit_probe, probe_from
from lib.studies.robust_ssl.study import DECAY, SSLStudy
from lib.training.loop import Recipe, Trained
from lib.training.passes import forward_equivalents

# Rows for `run.scale`, the same on both pages. The source: ResNet-18 of width 64, 1000 epochs of CIFAR-10.
SELF_AT_SIZES = {
    "side": per_profile(32, 32, 32, 32),
    "learn": per_profile(60, 20_000, 45_000, 45_000),
    "held": per_profile(30, 3000, 5000, 5000),
    "test": per_profile(30, 4000, 10_000, 10_000),
    "faces": per_profile(60, 12_000, 50_000, 200_000),
    "people": per_profile(10, 100, 100, 500),
    "expressions": per_profile(60, 8000, 28_000, 28_000),
    "width": per_profile(4, 8, 64, 64),
    "stem": per_profile("half", "half", "small", "small"),
    "hidden": per_profile(16, 256, 512, 512),
    "dim": per_profile(8, 128, 512, 512),
    "batch": per_profile(16, 128, 512, 512),
    "steps": per_profile(1, 600, 5300, 88_000),
    "face_steps": per_profile(1, 300, 2000, 20_000),
    "attack_steps": per_profile(1, 5, 5, 5),
    "clusters": per_profile([2, 3], [2, 10, 50, 100, 500], [2, 10, 50, 100, 500], [2, 10, 50, 100, 500]),
    "recipe": per_profile("common", "common", "common", "released"),
    "rate": per_profile(1e-3, 3e-3, 1e-3, 1e-3),
    "tune_steps": per_profile(1, 250, 2200, 8800),
    "tune_rate": per_profile(1e-3, 1e-3, 1e-3, 1e-3),
    "watched": per_profile(8, 300, 1000, 1000),
    "attacked": per_profile(6, 1000, 2000, 10_000),
    "autoattacked": per_profile(4, 200, 1000, 10_000),
    "pgd_steps": per_profile(1, 20, 20, 20),
    "aa_iterations": per_profile(1, 100, 100, 100),
    "aa_queries": per_profile(2, 5000, 5000, 5000),
    "probe_steps": per_profile(3, 100, 100, 100),
    "seeds": per_profile([0, 1], [0, 1], [0, 1, 2], [0, 1, 2]),
}
SECONDS = 8e-5  # of one processor thread for a picture's forward pass through the laptop's network
BUDGETS = ("epochs", "passes")  # equal for all methods: pictures seen, or passes of a network
BY_PASSES = ("SimCLR", "DeACL")  # whose step costs less than two thirds of ACL's; the others' about as much
TEACHER = 0.5  # of DeACL's equal passes go into its teacher
FIXED = {"strong": 1.0, "weak": 0.0}  # augmentation that does not change, the controls of DynACL
FACE_METHODS = ("SimCLR", "ACL", "DeACL")
LABEL_SHARES = (0.01, 0.1, 0.5)  # of the labels, the semi-supervised rows
# As released, for the profile "paper": optimiser, rate, weight decay. RoCL's rate holds for two GPUs of 256.
RELEASED = {
    "SimCLR": ("lars", 5.0, 1e-6),
    "RoCL": ("lars", 1.5, 1e-6),
    "ACL": ("lars", 5.0, 1e-6),
    "AdvCL": ("sgd", 0.5, 1e-4),
    "DeACL": ("sgd", 0.5, 5e-4),
    "DynACL": ("lars", 5.0, 1e-6),
}


@dataclass(frozen=True)
class AskedSelfAT:
    """A training by what is trained, as the arguments of `SelfATStudy.self_at`."""

    method: str
    seed: int = 0
    budget: str = "epochs"
    domain: str = "objects"
    options: Options | None = None


class SelfATStudy(SSLStudy):
    """The trainings of pages 18 and 19 on the objects and faces of pages 15 to 17, each done once and kept."""

    @cached_property
    def costs(self) -> dict[str, float]:
        """Forward passes, or as much, that a step of each method costs for each picture, as counted by hooks."""
        return {name: forward_equivalents(self.passes(name)) for name in SELF_AT}

    def passes(self, method: str) -> dict[str, float]:
        """Passes of a step for each picture by their kind, counted on a few pictures with networks of no training."""
        batch = 4
        teacher = RoutedEncoder(self.sizes, SimCLR.norms)
        pseudo = torch.arange(batch)[:, None] % 2
        plan = self.plan_of_method(self_at(method), Aids(teacher, pseudo.expand(-1, len(self.scale.clusters))))
        return step_passes(self.objects.images["learn"][:batch], plan, batch)

    @property
    def sizes(self) -> Sizes:
        """The network at this scale."""
        s = self.scale
        return Sizes(s.width, s.stem, s.hidden, s.dim)

    def options_of(self, kind: type[SelfAdversarial], options: Options | None = None) -> Options:
        """Options with the scale's number of steps of the inner attack; RoCL's stay ahead of the others' by two."""
        options = options or kind.Options()
        released = options.strength
        more = released.steps - Strength().steps if isinstance(released.steps, int) else 0
        steps = max(1, self.scale.attack_steps + more)
        return replace(options, strength=replace(released, steps=steps))

    def plan_of_method(
        self, kind: type[SelfAdversarial], aids: Aids | None = None, options: Options | None = None
    ) -> SelfATPlan:
        """What is trained, at this scale."""
        return SelfATPlan(kind, self.sizes, self.options_of(kind, options), aids or Aids())

    def steps_of(self, method: str, budget: str = "epochs", domain: str = "objects") -> int:
        """Steps of a training; "passes": as many as cost what ACL's training costs, DeACL's teacher included."""
        steps = self.scale.steps if domain == "objects" else self.scale.face_steps
        if budget not in BUDGETS:
            raise WorkbookError(f"Budgets are equal in {choices(BUDGETS)}, not in '{budget}': choose one.")
        if budget == "epochs":
            return steps
        share = 1 - TEACHER if method == DeACL.name else 1.0
        return max(1, round(share * steps * self.costs["ACL"] / self.costs[method]))

    def recipe_of(self, method: str, steps: int, seed: int) -> Recipe:
        """The one recipe of all methods, or each method's released one."""
        s = self.scale
        settings = {"seed": seed, "warmup": steps // 20, "clip": None}
        if s.recipe == "released":
            optimiser, rate, decay = RELEASED.get(method, RELEASED["ACL"])
            settings |= {"optimiser": optimiser, "weight_decay": decay, "warmup": steps // 100}
            return self.recipe(steps, s.batch, rate, **settings)
        return self.recipe(steps, s.batch, s.rate, weight_decay=DECAY, **settings)

    def aids_of(self, method: str, seed: int, budget: str, domain: str) -> Aids:
        """A teacher for DeACL, pseudo-labels for AdvCL, both by a SimCLR of the same seed and domain."""
        if method == DeACL.name:
            return Aids(teacher=self.loaded(SimCLR, self.teacher(seed, budget, domain)))
        if method == AdvCL.name:
            encoder = self.loaded(SimCLR, self.self_at(SimCLR.name, seed, "passes", domain))
            clusters = tuple(self.scale.clusters)
            images = self.pretraining(domain)
            return Aids(pseudo=self.run.kept(clusters_of, encoder, images, clusters, seed, self.device))
        return Aids()

    def teacher(self, seed: int, budget: str = "epochs", domain: str = "objects") -> Trained:
        """DeACL's teacher: SimCLR for as many passes as ACL takes, or for the teacher's share of these."""
        whole = self.steps_of(SimCLR.name, "passes", domain)
        steps = whole if budget == "epochs" else max(1, round(TEACHER * whole))
        return self.pretrained(self.plan_of_method(SimCLR), steps, seed, domain)

    def pretrained(self, plan: SelfATPlan, steps: int, seed: int = 0, domain: str = "objects") -> Trained:
        """A training of so many steps, kept: also for a method that only one page knows."""
        recipe = self.recipe_of(plan.method.name, steps, seed)
        watch = self.watch_robust() if domain == "objects" else None
        return self.trained_anywhere(train_self_at, self.pretraining(domain), plan, recipe, watch)

    def self_at(
        self,
        method: str,
        seed: int = 0,
        budget: str = "epochs",
        domain: str = "objects",
        options: Options | None = None,
    ) -> Trained:
        """The training of one of `SELF_AT`, read once in a session. options: None for those of the release."""
        asked = AskedSelfAT(method, seed, budget, domain, options)
        if asked not in self.read:
            kind = self_at(method)
            plan = self.plan_of_method(kind, self.aids_of(method, seed, budget, domain), options)
            self.read[asked] = self.pretrained(plan, self.steps_of(method, budget, domain), seed, domain)
        return self.read[asked]

    def fixed(self, name: str, seed: int = 0) -> Trained:
        """DynACL with an augmentation of one of `FIXED` strengths all along; the rest as released."""
        return self.self_at(DynACL.name, seed, options=DynACLOptions(fixed=FIXED[name]))

    def watch_robust(self) -> RobustWatch:
        """Accuracies of a quick probe along training."""
        most = self.scale.watched
        learn, held = (
            (self.objects.images[part][:count], self.objects.labels[part][:count])
            for part, count in (("learn", 5 * most), ("held", most))
        )
        return RobustWatch(learn, held)

    def loaded(self, kind: type[SelfAdversarial], trained: Trained | None, seed: int = 0) -> RoutedEncoder:
        """The frozen encoder of a training; None: an untrained one."""
        encoder = SelfATPlan(kind, self.sizes).model(seed).encoder
        if trained is not None:
            encoder.load_state_dict(trained["weights"])
        return encoder.to(self.run.device).eval().requires_grad_(False)

    def robust_encoder(
        self, method: str, seed: int = 0, budget: str = "epochs", domain: str = "objects"
    ) -> RoutedEncoder:
        """The frozen encoder of one of `SELF_AT`, "untrained", or "DynACL++" (which only objects have)."""
        if method == "untrained":
            return self.loaded(SimCLR, None, seed)
        if method == "DynACL++":
            return self.plus(seed)
        return self.loaded(self_at(method), self.self_at(method, seed, budget, domain), seed)

    def plus(self, seed: int = 0) -> RoutedEncoder:
        """DynACL's encoder after DynACL++'s second stage: pseudo-labels by k-means, a probe of them, then TRADES."""
        encoder = self.robust_encoder(DynACL.name, seed)
        data = self.objects
        classes = len(data.classes)
        pseudo = self.run.kept(clusters_of, OneRoute(encoder), data.images["learn"], (classes,), seed, self.device)[
            :, 0
        ]
        layer = self.run.kept(probed_layer, OneRoute(encoder), data.images["learn"], pseudo, self.device)
        tuning = FineTuning(
            "AFF", data.images["learn"], pseudo, self.tuning_recipe(seed), self.tuning_steps, layer=layer
        )
        trained = self.trained_anywhere(fine_tune, encoder, tuning, classes)
        weights = {name.removeprefix("encoder."): w for name, w in trained["weights"].items() if name[:8] == "encoder."}
        return self.loaded(DynACL, {"weights": weights})

    @property
    def tuning_steps(self) -> int:
        """Steps of the attack in fine-tuning: twice those of pre-training (released: 10)."""
        return 2 * self.scale.attack_steps

    def tuning_recipe(self, seed: int = 0) -> Recipe:
        """How classifiers are tuned: released SGD 0.1 falling at 60 and 80 %, or the common optimiser."""
        s = self.scale
        if s.recipe == "released":
            falls = ((0.6, 0.1), (0.8, 0.01))
            return self.recipe(
                s.tune_steps, 128, 0.1, seed=seed, optimiser="sgd", weight_decay=2e-4, schedule="falls", falls=falls
            )
        return self.recipe(s.tune_steps, s.batch, s.tune_rate, seed=seed, weight_decay=DECAY)

    @property
    def judges(self) -> Judges:
        """The attacks of the evaluation at this scale."""
        s = self.scale
        return Judges("8/255", s.pgd_steps, s.autoattacked, s.aa_iterations, s.aa_queries)

    def linear(self, encoder: nn.Module, way: str = "adversarial") -> nn.Module:
        """SLF: the frozen encoder along one route, with a linear probe of clean pictures behind it."""
        return self.probe(OneRoute(encoder, way))

    def few_labels(self, encoder: nn.Module, share: float, way: str = "adversarial") -> nn.Module:
        """SLF with that share of the labels."""
        routed = OneRoute(encoder, way)
        data = self.objects
        known = share_of(data.images["learn"], data.labels["learn"], share)
        held = data.images["held"], data.labels["held"]
        recipe = ProbeRecipe(steps=self.scale.probe_steps)
        fitted = self.run.kept(probe_on, routed, known, held, recipe, self.device)
        return probe_from(routed, fitted).to(self.run.device)

    def tuned_classifier(self, encoder: RoutedEncoder, mode: str, seed: int = 0) -> nn.Module:
        """ALF or AFF: the classifier tuned on attacked pictures, tested along the adversarial route."""
        trained = self.tuned_training(encoder, mode, seed)
        tuning = FineTuning(mode, *self.labelled_pictures, self.tuning_recipe(seed))
        model = tuning.classifier(encoder, len(self.objects.classes))
        model.load_state_dict(trained["weights"])
        return OneRoute(model.to(self.run.device).eval().requires_grad_(False))

    def tuned_training(self, encoder: RoutedEncoder, mode: str, seed: int = 0) -> Trained:
        """The kept fine-tuning, with accuracies on held-out pictures along it."""
        most = self.scale.watched
        watch = TunedWatch(self.objects.images["held"][:most], self.objects.labels["held"][:most])
        tuning = FineTuning(mode, *self.labelled_pictures, self.tuning_recipe(seed), self.tuning_steps, watch)
        return self.trained_anywhere(fine_tune, encoder, tuning, len(self.objects.classes))

    @property
    def labelled_pictures(self) -> tuple[Tensor, LongTensor]:
        """The objects that classifiers learn from."""
        return self.objects.images["learn"], self.objects.labels["learn"]

    def judged_robust(self, models: list[nn.Module], official: bool = True) -> dict[str, Tensor]:
        """`rights_under` of one classifier a seed, stacked: "SA" and "RA" (seeds, n), "AA" (seeds, m) bool.

        official: whether AutoAttack runs too; else "AA" has no pictures.
        """
        images, labels = self.objects.part("test", self.scale.attacked)
        judges = self.judges if official else replace(self.judges, autoattacked=0)
        return self.for_each(rights_under, models, images, labels, judges)

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of page 18 by name, those that a verdict needs first."""
        jobs: dict[str, Callable[[], object]] = {}
        for seed in self.scale.seeds:
            for method in SELF_AT:
                jobs[f"self-AT {method} {seed}"] = partial(self.self_at, method, seed)
            for name in FIXED:
                jobs[f"self-AT DynACL {name} {seed}"] = partial(self.fixed, name, seed)
        for seed in self.scale.seeds:
            for method in BY_PASSES:
                jobs[f"self-AT passes {method} {seed}"] = partial(self.self_at, method, seed, "passes")
            jobs[f"self-AT DynACL++ {seed}"] = partial(self.plus, seed)
            for method in (*SELF_AT, "untrained"):
                jobs[f"self-AT AFF {method} {seed}"] = partial(self.tuned_by_name, method, "AFF", seed)
        for method in (*SELF_AT, "untrained"):
            jobs[f"self-AT ALF {method} 0"] = partial(self.tuned_by_name, method, "ALF")
        for method in FACE_METHODS:
            jobs[f"self-AT faces {method} 0"] = partial(self.self_at, method, 0, "epochs", "faces")
        return jobs

    def minutes(self) -> dict[str, float]:
        """Estimated processor minutes of each training of the plan, from counted passes of a laptop's network."""
        s, costs = self.scale, self.costs
        tuned = {
            "AFF": 2 * self.tuning_steps + 7,
            "ALF": 2 * self.tuning_steps + 3,
            "DynACL++": 2 * self.tuning_steps + 7,
        }
        found = {}
        for name in self.plan():
            words = name.split()
            kind = next((word for word in words[1:] if word in tuned), None)
            if kind:
                passes = s.tune_steps * tuned[kind]
            else:
                method = next(word for word in words if word in SELF_AT)
                budget = "passes" if "passes" in words else "epochs"
                domain = "faces" if "faces" in words else "objects"
                passes = self.steps_of(method, budget, domain) * costs[method]
                if method == DeACL.name:  # its teacher, too
                    share = TEACHER if budget == "passes" else 1.0
                    passes += share * self.steps_of("SimCLR", "passes", domain) * costs["SimCLR"]
            found[name] = passes * s.batch * SECONDS / 60
        return found

    def tuned_by_name(self, method: str, mode: str, seed: int = 0) -> Trained:
        """The fine-tuning of a method's encoder."""
        return self.tuned_training(self.robust_encoder(method, seed), mode, seed)


def clusters_of(
    encoder: nn.Module, images: Tensor, clusters: tuple[int, ...], seed: int = 0, device: str = "cpu"
) -> LongTensor:
    """`pseudo_labels` (n, k) of an encoder's features of images (n, 3, S, S) uint8."""
    return pseudo_labels(features_of(encoder, images, device), clusters, seed)


def probe_on(
    encoder: nn.Module,
    known: tuple[Tensor, LongTensor],
    held: tuple[Tensor, LongTensor],
    recipe: ProbeRecipe,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """A probe as `fit_probe` gives it, of images and labels."""
    parts = [(features_of(encoder, images, device), labels) for images, labels in (known, held)]
    return fit_probe(*parts, recipe)


def probed_layer(encoder: nn.Module, images: Tensor, labels: LongTensor, device: str = "cpu") -> dict[str, Tensor]:
    """The "weight" (K, d) and "bias" (K,) of a linear probe of images, for features that are not standardised."""
    features = features_of(encoder, images, device)
    fitted = fit_probe((features, labels), (features, labels), ProbeRecipe((1e-3,), 50))
    weight = fitted["weight"] / fitted["std"]
    return {"weight": weight, "bias": fitted["bias"] - weight @ fitted["mean"]}


def self_at_study_for(run: Run, **knobs: dict[str, object]) -> SelfATStudy:
    """The study at the run's scale, with its table and the page's own knobs shown."""
    return SelfATStudy(run, run.scale(**SELF_AT_SIZES, **knobs))
