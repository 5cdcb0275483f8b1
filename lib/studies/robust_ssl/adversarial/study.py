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
from lib.studies.robust_ssl.adversarial.methods import ACL, Aids, Options, SelfAdversarial, SimCLR
from lib.studies.robust_ssl.adversarial.networks import OneRoute, RoutedEncoder
from lib.studies.robust_ssl.adversarial.robustness import (
    Judges,
    RobustWatch,
    TunedWatch,
    quick_accuracies,
    right_after,
    right_by_steps,
    rights_under,
)
from lib.studies.robust_ssl.adversarial.strength import Strength
from lib.studies.robust_ssl.adversarial.training import SELF_AT, SelfATPlan, self_at, step_passes, train_self_at
from lib.studies.robust_ssl.networks import Sizes
from lib.studies.robust_ssl.probes import ProbeRecipe, features_of, fit_probe, probe_from
from lib.studies.robust_ssl.study import DECAY, SIZES, SSLStudy
from lib.training.loop import Recipe, Trained
from lib.training.passes import forward_equivalents

# Rows for `run.scale`, the same on both pages; those of `SHARED` are the rows of pages 15 to 17.
# The source: ResNet-18 of width 64, 1000 epochs of CIFAR-10.
SHARED = ("side", "learn", "held", "test", "faces", "people", "expressions", "width", "stem", "probe_steps", "seeds")
SELF_AT_SIZES = {name: SIZES[name] for name in SHARED} | {
    "hidden": per_profile(16, 256, 512, 512),
    "dim": per_profile(8, 128, 512, 512),
    "batch": per_profile(16, 128, 512, 512),
    "steps": per_profile(1, 600, 5300, 88_000),
    "face_steps": per_profile(1, 300, 2000, 20_000),
    "attack_steps": per_profile(1, 5, 5, 5),
    "clusters": per_profile([2, 3], [2, 10, 50, 100, 500], [2, 10, 50, 100, 500], [2, 10, 50, 100, 500]),
    "recipe": per_profile("common", "common", "common", "released"),
    "rates": per_profile([1e-3], [3e-3, 1e-2, 3e-2], [1e-3], [1e-3]),
    "rate_steps": per_profile(1, 150, 500, 5000),
    "tune_steps": per_profile(1, 250, 2200, 8800),
    "tune_rates": per_profile([1e-3], [1e-3, 3e-3, 1e-2], [1e-3], [1e-3]),
    "layer_rate": per_profile(1e-2, 1e-2, 1e-2, 1e-2),
    "watched": per_profile(8, 300, 1000, 1000),
    "attacked": per_profile(6, 1000, 2000, 10_000),
    "autoattacked": per_profile(4, 200, 1000, 10_000),
    "pgd_steps": per_profile(1, 20, 20, 20),
    "aa_iterations": per_profile(1, 100, 100, 100),
    "aa_queries": per_profile(2, 5000, 5000, 5000),
    "order_seeds": per_profile([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]),
}
SECONDS = 8e-5  # of one processor thread for a picture's forward pass through the laptop's network
BUDGETS = ("epochs", "passes")  # equal for all methods: pictures seen, or passes of a network
BY_PASSES = ("SimCLR", "DeACL")  # whose step costs less than two thirds of ACL's; the others' about as much
TEACHER = 0.5  # of DeACL's equal passes go into its teacher
FIXED = {"strong": 1.0, "weak": 0.0}  # augmentation that does not change, the controls of DynACL
FACE_METHODS = ("SimCLR", "ACL", "DeACL")
FACES_COMPARED = ("SimCLR", "ACL")  # a verdict stands on these two, so they take every seed
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

    def rate_accuracies(self, method: str) -> dict[float, float]:
        """Held-out accuracy of a quick probe for each rate after `rate_steps`: under attack, of SimCLR clean."""
        data, measure = self.objects, "SA" if method == SimCLR.name else "RA"
        parts = [(data.images[name], data.labels[name]) for name in ("learn", "held")]
        kind = self_at(method)
        plan = self.plan_of_method(
            kind, self.aids_of(method, 0, "epochs", "objects") if len(self.scale.rates) > 1 else None
        )
        found = {}
        for rate in self.scale.rates:
            recipe = self.recipe_of(method, self.scale.rate_steps, 0, rate)
            encoder = self.loaded(kind, self.trained_anywhere(train_self_at, self.pretraining(), plan, recipe, None))
            found[rate] = self.run.kept(quick_accuracies, encoder, *parts)[measure]
        return found

    def tuned_rate(self, method: str) -> float:
        """The rate of the best held-out accuracy, the lowest of equals; where there is only one, nothing is trained."""
        rates = self.scale.rates
        return rates[0] if len(rates) == 1 else super().tuned_rate(method)

    def recipe_of(self, method: str, steps: int, seed: int, rate: float | None = None) -> Recipe:
        """One recipe for all methods, each at its own rate, or each method's released one.

        rate: None for the tuned one; what another page makes of a method has that method's, what it makes anew ACL's.
        """
        s = self.scale
        settings = {"seed": seed, "warmup": steps // 20, "clip": None}
        if s.recipe == "released":
            optimiser, rate, decay = RELEASED.get(method, RELEASED["ACL"])
            settings |= {"optimiser": optimiser, "weight_decay": decay, "warmup": steps // 100}
            return self.recipe(steps, s.batch, rate, **settings)
        known = next((name for name in SELF_AT if method.startswith(name)), ACL.name)
        return self.recipe(steps, s.batch, rate or self.tuned_rate(known), weight_decay=DECAY, **settings)

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
            "AFF", data.images["learn"], pseudo, self.tuning_recipe("AFF", seed), self.tuning_steps, layer=layer
        )
        trained = self.trained_anywhere(fine_tune, encoder, tuning, classes)
        weights = {name.removeprefix("encoder."): w for name, w in trained["weights"].items() if name[:8] == "encoder."}
        return self.loaded(DynACL, {"weights": weights})

    @property
    def tuning_steps(self) -> int:
        """Steps of the attack in fine-tuning: twice those of pre-training (released: 10)."""
        return 2 * self.scale.attack_steps

    def tuning_cost(self, mode: str) -> int:
        """Forward passes, or as much, that a step of "AFF" or "ALF" costs for each picture."""
        return 2 * self.tuning_steps + (7 if mode == "AFF" else 3)

    @property
    def longer(self) -> int:
        """Steps of full fine-tuning that cost what ACL's pre-training and its fine-tuning cost together."""
        return self.scale.tune_steps + round(self.scale.steps * self.costs["ACL"] / self.tuning_cost("AFF"))

    def fine_tuning_accuracies(self, start: str) -> dict[float, float]:
        """Held-out accuracy under attack after AFF at each of the `tune_rates`, from "ACL" or "untrained"."""
        encoder, held = self.robust_encoder(start), (self.objects.images["held"], self.objects.labels["held"])
        found = {}
        for rate in self.scale.tune_rates:
            model = self.tuned_classifier(encoder, "AFF", rate=rate)
            found[rate] = self.run.kept(right_after, model, held[0].float() / 255, held[1], steps=10).double().mean()
        return {rate: float(share) for rate, share in found.items()}

    def fine_tuning_rate(self, start: str = ACL.name) -> float:
        """The best of the `tune_rates` on held-out pictures; all trained encoders take that of ACL's."""
        rates, name = self.scale.tune_rates, start if start == "untrained" else ACL.name
        if len(rates) == 1:
            return rates[0]
        if f"AFF {name}" not in self.tuned:
            found = self.fine_tuning_accuracies(name)
            self.tuned[f"AFF {name}"] = max(found, key=lambda rate: (found[rate], -rate))
        return self.tuned[f"AFF {name}"]

    def tuning_recipe(self, mode: str, seed: int = 0, steps: int | None = None, rate: float | None = None) -> Recipe:
        """How classifiers are tuned: released SGD 0.1 falling at 60 and 80 %, or the common optimiser.

        steps, rate: None for `tune_steps`, and for the rate of the layer alone or that of a trained encoder.
        """
        s = self.scale
        steps = steps or s.tune_steps
        if s.recipe == "released":
            falls = ((0.6, 0.1), (0.8, 0.01))
            return self.recipe(
                steps, 128, 0.1, seed=seed, optimiser="sgd", weight_decay=2e-4, schedule="falls", falls=falls
            )
        rate = rate or (self.fine_tuning_rate() if mode == "AFF" else s.layer_rate)
        return self.recipe(steps, s.batch, rate, seed=seed, weight_decay=DECAY)

    @property
    def judges(self) -> Judges:
        """The attacks of the evaluation at this scale."""
        s = self.scale
        return Judges("8/255", s.pgd_steps, s.attacked, 2 * s.pgd_steps, s.autoattacked, s.aa_iterations, s.aa_queries)

    def linear(self, encoder: nn.Module, way: str = "adversarial") -> nn.Module:
        """SLF: the frozen encoder along one route, with a linear probe of clean pictures behind it."""
        return self.probe(OneRoute(encoder, way))

    def few_labels(self, encoder: nn.Module, share: float, seed: int = 0) -> nn.Module:
        """SLF with that share of the labels, also of those held out, which choose the weight decay; seed: which."""
        routed = OneRoute(encoder)
        data = self.objects
        known, held = (share_of(data.images[part], data.labels[part], share, seed) for part in ("learn", "held"))
        recipe = ProbeRecipe(steps=self.scale.probe_steps)
        fitted = self.run.kept(probe_on, routed, known, held, recipe, self.device)
        return probe_from(routed, fitted).to(self.run.device)

    def tuned_classifier(self, encoder: RoutedEncoder, mode: str, seed: int = 0, **recipe: float | None) -> nn.Module:
        """ALF or AFF: the classifier tuned on attacked pictures, tested along the adversarial route."""
        trained = self.tuned_training(encoder, mode, seed, **recipe)
        tuning = FineTuning(mode, *self.labelled_pictures, self.tuning_recipe(mode, seed, **recipe))
        model = tuning.classifier(encoder, len(self.objects.classes))
        model.load_state_dict(trained["weights"])
        return OneRoute(model.to(self.run.device).eval().requires_grad_(False))

    def tuned_training(self, encoder: RoutedEncoder, mode: str, seed: int = 0, **recipe: float | None) -> Trained:
        """The kept fine-tuning, with accuracies on held-out pictures along it. recipe: "steps", "rate" that differ."""
        most = self.scale.watched
        watch = TunedWatch(self.objects.images["held"][:most], self.objects.labels["held"][:most])
        how = self.tuning_recipe(mode, seed, **recipe)
        tuning = FineTuning(mode, *self.labelled_pictures, how, self.tuning_steps, watch)
        return self.trained_anywhere(fine_tune, encoder, tuning, len(self.objects.classes))

    @property
    def lengths(self) -> tuple[int, ...]:
        """Steps of PGD that show whether it has converged: a quarter of the usual ones up to four times as many."""
        return tuple(max(1, round(self.scale.pgd_steps * share)) for share in (0.25, 1, 2, 4))

    def by_steps(self, method: str) -> Tensor:
        """Which first test pictures are right after PGD of `lengths`, (goals, lengths, n) bool: SLF of seed 0."""
        images, labels = self.objects.part("test", self.scale.watched)
        model = self.linear(self.robust_encoder(method))
        return self.run.kept(right_by_steps, model, images, labels, self.lengths)

    @property
    def labelled_pictures(self) -> tuple[Tensor, LongTensor]:
        """The objects that classifiers learn from."""
        return self.objects.images["learn"], self.objects.labels["learn"]

    def judged_robust(self, models: list[nn.Module], official: bool = True, quick: bool = False) -> dict[str, Tensor]:
        """`rights_under` of one classifier a seed, stacked: "SA" (seeds, n), "RA", "WC" (seeds, k), "AA" (seeds, m).

        official: whether AutoAttack runs too; else "AA" has no pictures. quick: PGD alone, and none in "WC" either.
        """
        images, labels = self.objects.part("test")
        judges = self.judges if official and not quick else replace(self.judges, autoattacked=0)
        judges = replace(judges, margin=0) if quick else judges
        return self.for_each(rights_under, models, images, labels, judges)

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of page 18 by name, those that a verdict needs first; rates before all."""
        jobs: dict[str, Callable[[], object]] = {}
        tuned = SELF_AT if len(self.scale.rates) > 1 else ()
        for method in tuned:
            jobs[f"self-AT rates {method}"] = partial(self.tuned_rate, method)
            if method == SimCLR.name:  # what AdvCL's pseudo-labels and DeACL's teacher come from
                jobs["self-AT passes SimCLR 0"] = partial(self.self_at, method, 0, "passes")
        for seed in self.scale.seeds:
            jobs[f"self-AT passes SimCLR {seed}"] = partial(self.self_at, SimCLR.name, seed, "passes")
            for method in SELF_AT:
                jobs[f"self-AT {method} {seed}"] = partial(self.self_at, method, seed)
            for name in FIXED:
                jobs[f"self-AT DynACL {name} {seed}"] = partial(self.fixed, name, seed)
        for seed in self.scale.order_seeds[len(self.scale.seeds) :]:  # more trainings where methods lie close
            jobs[f"self-AT passes SimCLR {seed}"] = partial(self.self_at, SimCLR.name, seed, "passes")
            for method in SELF_AT:
                jobs[f"self-AT {method} {seed}"] = partial(self.self_at, method, seed)
        for start in (ACL.name, "untrained") if len(self.scale.tune_rates) > 1 else ():
            jobs[f"self-AT AFF rates {start}"] = partial(self.fine_tuning_rate, start)
        for seed in self.scale.seeds:
            jobs[f"self-AT passes DeACL {seed}"] = partial(self.self_at, DeACL.name, seed, "passes")
            jobs[f"self-AT DynACL++ {seed}"] = partial(self.plus, seed)
            for method in (*SELF_AT, "untrained"):
                jobs[f"self-AT AFF {method} {seed}"] = partial(self.tuned_by_name, method, "AFF", seed)
            jobs[f"self-AT AFF longer untrained {seed}"] = partial(self.tuned_longer, seed)
        for method in (*SELF_AT, "untrained"):
            jobs[f"self-AT ALF {method} 0"] = partial(self.tuned_by_name, method, "ALF")
        for method in FACE_METHODS:
            for seed in self.face_seeds(method):
                jobs[f"self-AT faces {method} {seed}"] = partial(self.self_at, method, seed, "epochs", "faces")
        return jobs

    def minutes(self) -> dict[str, float]:
        """Estimated processor minutes of each training of the plan, from counted passes of a laptop's network."""
        s, costs = self.scale, self.costs
        tuned = {"AFF": "AFF", "ALF": "ALF", "DynACL++": "AFF"}
        found = {}
        for name in self.plan():
            words = name.split()
            kind = next((word for word in words[1:] if word in tuned), None)
            if kind:
                steps = self.longer if "longer" in words else s.tune_steps
                again = len(s.tune_rates) - 1 if "rates" in words else 1  # the best of them is a training of the plan
                passes = again * steps * self.tuning_cost(tuned[kind])
            elif "rates" in words:
                passes = len(s.rates) * s.rate_steps * costs[words[-1]]
            else:
                method = next(word for word in words if word in SELF_AT)
                budget = "passes" if "passes" in words else "epochs"
                domain = "faces" if "faces" in words else "objects"
                passes = self.steps_of(method, budget, domain) * costs[method]
                if method == DeACL.name and (budget, domain) != ("epochs", "objects"):  # its teacher, too
                    share = TEACHER if budget == "passes" else 1.0
                    passes += share * self.steps_of("SimCLR", "passes", domain) * costs["SimCLR"]
            found[name] = passes * s.batch * SECONDS / 60
        return found

    def tuned_by_name(self, method: str, mode: str, seed: int = 0) -> Trained:
        """The fine-tuning of a method's encoder, or of an untrained one at its own rate."""
        return self.tuned_training(self.robust_encoder(method, seed), mode, seed, **self.own_rate(method, mode))

    def tuned_longer(self, seed: int = 0) -> Trained:
        """Full fine-tuning of an untrained encoder for as many passes as ACL's training and fine-tuning take."""
        return self.tuned_training(self.robust_encoder("untrained", seed), "AFF", seed, **self.longest)

    @property
    def longest(self) -> dict[str, float]:
        """What differs in the recipe of `tuned_longer`."""
        return {"steps": self.longer} | self.own_rate("untrained", "AFF")

    def own_rate(self, method: str, mode: str) -> dict[str, float]:
        """What differs in the recipe of a method's fine-tuning: the rate of AFF from an untrained encoder."""
        return {"rate": self.fine_tuning_rate(method)} if (method, mode) == ("untrained", "AFF") else {}

    def face_seeds(self, method: str) -> list[int]:
        """The seeds of a method's trainings on faces: all where a verdict stands on it."""
        return self.scale.seeds if method in FACES_COMPARED else self.scale.seeds[:1]


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
