"""The slides' joint embeddings as pages 15 to 17 share them: one table of sizes, one choice of data, kept trainings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor, nn

from lib.book.run import Run, per_profile
from lib.errors import WorkbookError, choices
from lib.seeds import seeded
from lib.studies.base import Study
from lib.studies.robust_ssl.data import Faces, Labelled, faces_for, objects_for
from lib.studies.robust_ssl.families import METHODS, REMOVALS, Settings, family
from lib.studies.robust_ssl.networks import Encoder, Sizes
from lib.studies.robust_ssl.probes import LinearProbe, ProbeRecipe, judged, probe_from
from lib.studies.robust_ssl.training import CollapseWatch, Plan, train_classifier, train_family
from lib.studies.robust_ssl.view_settings import SIMCLR_PRETRAINING
from lib.studies.robust_ssl.views import LEFT_OUT, STANDARD, AnyViews, left_out
from lib.training.loop import Recipe, Trained
from lib.transforms.conformal_views import KINDS, ConformalViews

# Rows for `run.scale`, the same on all three pages, so that an encoder is trained once for all of them. The source:
# ResNet-50 on ImageNet, 100 to 1000 epochs.
SIZES = {
    "side": per_profile(32, 32, 32, 32),
    "learn": per_profile(60, 20_000, 45_000, 45_000),
    "held": per_profile(30, 3000, 5000, 5000),
    "test": per_profile(30, 4000, 10_000, 10_000),
    "faces": per_profile(60, 12_000, 50_000, 200_000),
    "people": per_profile(10, 100, 100, 500),
    "expressions": per_profile(60, 8000, 28_000, 28_000),
    "width": per_profile(4, 8, 64, 64),
    "stem": per_profile("half", "half", "small", "small"),
    "hidden": per_profile(16, 256, 2048, 2048),
    "dim": per_profile(8, 128, 256, 256),
    "prototypes": per_profile(8, 128, 512, 3000),
    "queue": per_profile(32, 4096, 16_384, 65_536),
    "momentum": per_profile(0.9, 0.99, 0.996, 0.996),
    "small_crops": per_profile(1, 2, 4, 6),
    "batch": per_profile(16, 256, 512, 512),
    "steps": per_profile(1, 1000, 8800, 88_000),
    "short_steps": per_profile(1, 200, 1000, 5000),
    "tune_steps": per_profile(1, 200, 1000, 5000),
    "domain_steps": per_profile(1, 300, 4000, 40_000),
    "face_steps": per_profile(1, 500, 4000, 40_000),
    "rates": per_profile([1e-3], [1e-3, 3e-3, 1e-2], [3e-4, 1e-3, 3e-3], [3e-4, 1e-3, 3e-3]),
    "probe_steps": per_profile(3, 100, 100, 100),
    "seeds": per_profile([0, 1], [0, 1], [0, 1, 2], [0, 1, 2]),
}
DOMAINS = ("objects", "faces")
DECAY = 1e-4  # of the weights, in every training
WATCHED = 1000  # held-out pictures on which collapse is watched
# DINO's p and |c|, which are the library's too; "released" has those of SimCLR's file. All keep the page's own colours.
CONFORMAL = {kind: ConformalViews(kind, 0.8, (0.1, 0.3), views=STANDARD) for kind in KINDS}
CONFORMAL["released"] = replace(SIMCLR_PRETRAINING, views=STANDARD)
TRAINED_VIEWS = {"SimCLR": (*KINDS, "released"), "DINO": ("moebius", "log")}  # the controls train SimCLR alone


@dataclass(frozen=True)
class Asked:
    """A training by its length and what is trained, as the arguments of `SSLStudy.ssl`."""

    steps: int
    method: str
    seed: int = 0
    views: AnyViews = STANDARD
    domain: str = "objects"
    without: str | None = None
    rate: float | None = None


class SSLStudy(Study):
    """The trainings of pages 15 to 17 on one choice of data, each done once and kept."""

    @cached_property
    def tuned(self) -> dict[str, float]:
        """The tuned rates so far, by method."""
        return {}

    @cached_property
    def read(self) -> dict[Asked, Trained]:
        """The trainings read so far, by what was asked for."""
        return {}

    @cached_property
    def objects(self) -> Labelled:
        """Objects of ten classes."""
        return objects_for(self.run, self.scale)

    @cached_property
    def faces(self) -> Faces:
        """Faces to pre-train on, and the labelled parts "identity" and "expression" that probes are fitted on."""
        return faces_for(self.run, self.scale)

    def pretraining(self, domain: str = "objects") -> Tensor:
        """The images (n, 3, side, side) uint8 that encoders of that domain learn from, without labels."""
        if domain not in DOMAINS:
            raise WorkbookError(f"The domains are {choices(DOMAINS)}, not '{domain}': choose one.")
        return self.objects.images["learn"] if domain == "objects" else self.faces.images

    def labelled(self, domain: str = "objects") -> Labelled:
        """Labelled parts by name: "objects", their first "five" classes, "identity" or "expression"."""
        if domain in ("objects", "five"):
            return self.objects if domain == "objects" else self.objects.of_classes(5)
        if domain not in ("identity", "expression"):
            raise WorkbookError(
                f"A probe is fitted on objects, five, identity or expression, not on '{domain}': choose one of them."
            )
        return getattr(self.faces, domain)

    @property
    def sizes(self) -> Sizes:
        """The network at this scale."""
        s = self.scale
        return Sizes(s.width, s.stem, s.hidden, s.dim, s.prototypes)

    def plan_of(self, method: str, views: AnyViews = STANDARD, without: str | None = None) -> Plan:
        """What is trained, at this scale."""
        s = self.scale
        settings = Settings(queue=s.queue, small=s.small_crops, momentum=s.momentum)
        return Plan(method, self.sizes, settings, views, without)

    def descent(self, steps: int, rate: float, seed: int) -> Recipe:
        """The one recipe of all trainings."""
        return self.recipe(steps, self.scale.batch, rate, seed=seed, weight_decay=DECAY, warmup=steps // 20, clip=None)

    def watch(self, method: str) -> CollapseWatch:
        """Collapse along training, on held-out objects."""
        return CollapseWatch(method, self.objects.images["held"][:WATCHED])

    def ssl(
        self,
        method: str,
        seed: int = 0,
        views: AnyViews = STANDARD,
        domain: str = "objects",
        without: str | None = None,
        rate: float | None = None,
    ) -> Trained:
        """The training of one of `METHODS`. views: two random ones of each picture. rate: None for the tuned one.

        Encoders of faces, and those without a part, take as many steps as `domain_steps` and `short_steps` say.
        """
        steps = self.scale.steps if domain == "objects" else self.scale.domain_steps
        steps = self.scale.short_steps if without else steps
        return self.trained(Asked(steps, method, seed, views, domain, without, rate))

    def trained(self, asked: Asked) -> Trained:
        """A training of so many steps, read once in a session."""
        if asked not in self.read:
            plan = self.plan_of(asked.method, asked.views, asked.without)
            recipe = self.descent(asked.steps, asked.rate or self.tuned_rate(asked.method), asked.seed)
            watch = self.watch(asked.method) if asked.domain == "objects" else None
            images = self.pretraining(asked.domain)
            self.read[asked] = self.trained_anywhere(train_family, images, plan, recipe, watch)
        return self.read[asked]

    def short(self, method: str, seed: int = 0, without: str | None = None) -> Trained:
        """A short training with all parts, or without one: what the collapse runs compare."""
        return self.trained(Asked(self.scale.short_steps, method, seed, without=without))

    def left_out(self, name: str | None, seed: int = 0, domain: str = "objects", method: str = "SimCLR") -> Trained:
        """A training of `domain_steps` without that augmentation; None: with all of them."""
        views = left_out(name) if name else STANDARD
        return self.trained(Asked(self.scale.domain_steps, method, seed, views, domain))

    def rate_accuracies(self, method: str) -> dict[float, float]:
        """Held-out accuracy of the linear probe for each of the rates, after `tune_steps`."""
        family(method)
        found = {}
        for rate in self.scale.rates:
            trained = self.trained(Asked(self.scale.tune_steps, method, rate=rate))
            found[rate] = float(self.fitted(self.encoder_from(trained))["accuracies"].max())
        return found

    def on_faces(self, seed: int = 0, views: AnyViews = STANDARD) -> Trained:
        """SimCLR on faces for `face_steps`: what page 17 reads for pose."""
        return self.trained(Asked(self.scale.face_steps, "SimCLR", seed, views, "faces"))

    def tuned_rate(self, method: str) -> float:
        """The rate of the best held-out accuracy, the lowest of equals."""
        if method not in self.tuned:
            found = self.rate_accuracies(method)
            self.tuned[method] = max(found, key=lambda rate: (found[rate], -rate))
        return self.tuned[method]

    def supervised(self, seed: int = 0, views: AnyViews = STANDARD) -> Trained:
        """An encoder trained with the labels of the objects, on as many views; rate: the middle one."""
        s, data = self.scale, self.objects
        recipe = self.descent(s.steps, s.rates[len(s.rates) // 2], seed)
        return self.trained_anywhere(
            train_classifier, data.images["learn"], data.labels["learn"], self.sizes, views, recipe
        )

    def encoder_from(self, trained: Trained | None, seed: int = 0) -> Encoder:
        """The frozen encoder of a training, on the run's device; None: an untrained one."""
        with seeded(seed):
            found = Encoder(self.scale.width, self.scale.stem)
        if trained is not None:
            found.load_state_dict(trained["weights"])
        return found.to(self.run.device).eval().requires_grad_(False)

    def encoder(self, method: str, seed: int = 0, views: AnyViews = STANDARD, domain: str = "objects") -> Encoder:
        """A frozen encoder: images (n, 3, side, side) in [0,1] to features (n, d).

        method: one of `METHODS`, "supervised" (objects alone) or "untrained".
        """
        if method == "untrained":
            return self.encoder_from(None, seed)
        if method == "supervised":
            if domain != "objects":
                raise WorkbookError("The supervised encoder learns the objects' classes: there is none of faces.")
            return self.encoder_from(self.supervised(seed, views), seed)
        return self.encoder_from(self.ssl(method, seed, views, domain), seed)

    def fitted(self, encoder: nn.Module, domain: str = "objects", recipe: ProbeRecipe | None = None) -> dict:
        """What `judged` gives: the encoder's probe, chosen on held-out images, and which test images are right."""
        data = self.labelled(domain)
        recipe = recipe or ProbeRecipe(steps=self.scale.probe_steps)
        return self.run.kept(judged, encoder, data.images, data.labels, recipe, self.device)

    def probe(self, encoder: nn.Module, domain: str = "objects", recipe: ProbeRecipe | None = None) -> LinearProbe:
        """The classifier behind the encoder: images in [0,1] to logits (n, classes).

        domain: "objects", "identity" or "expression". Its weight decay is chosen on held-out images.
        """
        return probe_from(encoder, self.fitted(encoder, domain, recipe)).to(self.run.device)

    def conformal_plan(self) -> dict[str, Callable[[], object]]:
        """What page 17 trains beside the encoders of page 15, by name."""
        jobs: dict[str, Callable[[], object]] = {}
        for method, kinds in TRAINED_VIEWS.items():
            for seed in self.scale.seeds:
                for kind in kinds:
                    jobs[f"{kind} {method} {seed}"] = partial(self.ssl, method, seed, CONFORMAL[kind])
        for seed in self.scale.seeds:
            jobs[f"pose standard {seed}"] = partial(self.on_faces, seed)
            jobs[f"pose moebius {seed}"] = partial(self.on_faces, seed, CONFORMAL["moebius"])
        return jobs

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of the three pages by name, those that a verdict needs first."""
        jobs: dict[str, Callable[[], object]] = {}
        for method in METHODS:
            jobs[f"rates {method}"] = partial(self.rate_accuracies, method)
        for seed in self.scale.seeds:
            for method in METHODS:
                jobs[f"{method} {seed}"] = partial(self.ssl, method, seed)
            jobs[f"supervised {seed}"] = partial(self.supervised, seed)
        for seed in self.scale.seeds:
            for method in METHODS:
                jobs[f"short {method} {seed}"] = partial(self.short, method, seed)
            for method, part in REMOVALS:
                jobs[f"short {method} without {part} {seed}"] = partial(self.short, method, seed, part)
        jobs |= self.conformal_plan()
        for seed in self.scale.seeds:
            for domain in DOMAINS:
                for name in (None, *LEFT_OUT):
                    word = f"without {name}" if name else "with all"
                    jobs[f"{domain} {word} {seed}"] = partial(self.left_out, name, seed, domain)
        for method in METHODS:
            jobs[f"faces {method} 0"] = partial(self.ssl, method, 0, STANDARD, "faces")
        return jobs


def study_for(run: Run, **knobs: dict[str, object]) -> SSLStudy:
    """The study at the run's scale, with its table and the page's own knobs shown."""
    return SSLStudy(run, run.scale(**SIZES, **knobs))
