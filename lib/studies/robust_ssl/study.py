"""The slides' joint embeddings as pages 15 to 17 share them: one table of sizes, one choice of data, kept trainings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

from torch import Tensor, nn

from lib.book.run import Run, per_profile
from lib.errors import WorkbookError, choices
from lib.seeds import seeded
from lib.studies.base import Study
from lib.studies.robust_ssl import view_settings
from lib.studies.robust_ssl.data import Faces, Labelled, faces_for, objects_for
from lib.studies.robust_ssl.families import METHODS, REMOVALS, Settings, family
from lib.studies.robust_ssl.networks import Encoder, Sizes
from lib.studies.robust_ssl.probes import LinearProbe, ProbeRecipe, judged, probe_from
from lib.studies.robust_ssl.training import CollapseWatch, Plan, train_classifier, train_family, untrained
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
    "momentum": per_profile(0.9, 0.95, 0.996, 0.996),  # at 0.99 a third of the first weights outlives 200 steps
    "small_crops": per_profile(1, 2, 4, 6),
    "batch": per_profile(16, 256, 512, 512),
    "steps": per_profile(1, 800, 8800, 88_000),
    "long_steps": per_profile(2, 2400, 8800, 88_000),
    "short_steps": per_profile(1, 200, 1000, 5000),
    "tune_steps": per_profile(1, 200, 1000, 5000),
    "domain_steps": per_profile(1, 300, 4000, 40_000),
    "face_steps": per_profile(1, 500, 4000, 40_000),
    "rates": per_profile([1e-3], [1e-3, 3e-3, 1e-2], [3e-4, 1e-3, 3e-3], [3e-4, 1e-3, 3e-3]),
    "probe_steps": per_profile(3, 100, 100, 100),
    "seeds": per_profile([0, 1], [0, 1], [0, 1, 2], [0, 1, 2]),
}
DOMAINS = ("objects", "faces")
TRAINED_ON_FACES = ("SimCLR", "BYOL", "DINO", "VICReg")
# What no verdict hangs on takes one training, at the first seed.
ONCE = (("MoCo", "momentum encoder"), ("SimSiam", "predictor"), ("DINO", "sharpening"), ("DINO", "EMA"))
OBJECT_TASKS = ("objects", "five")
FACE_TASKS = ("identity", "expression")
SLOW = ("DINO",)  # hardly begun after `short_steps`, with all its parts: its collapse runs take `steps`
DECAY = 1e-4  # of the weights, in every training
WATCHED = 1000  # held-out pictures on which collapse is watched
# DINO's p and |c|, which are the library's too; "released" has those of SimCLR's file. All keep the page's own colours.
# Of DINO the map bends the crop, of SimCLR the whole picture: `bent_views`.
CONFORMAL = {kind: ConformalViews(kind, 0.8, (0.1, 0.3), views=STANDARD) for kind in KINDS}
CONFORMAL["released"] = replace(view_settings.SIMCLR_PRETRAINING, views=STANDARD)
TRAINED_VIEWS = {"SimCLR": (*KINDS, "released"), "DINO": ("moebius", "log")}  # the controls train SimCLR alone


def bent_views(name: str, method: str = "SimCLR") -> ConformalViews:
    """The views `name` of `CONFORMAL`, with the map before or after the crop as the release has it for the method."""
    return replace(CONFORMAL[name], after_crop=view_settings.DINO.after_crop if method == "DINO" else False)


@dataclass(frozen=True)
class Asked:
    """A training by its length and what is trained, as the arguments of `SSLStudy.ssl`.

    alike: on colour pictures alone, as many of each domain.
    """

    steps: int
    method: str
    seed: int = 0
    views: AnyViews = STANDARD
    domain: str = "objects"
    without: str | None = None
    rate: float | None = None
    alike: bool = False


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

    def pretraining(self, domain: str = "objects", alike: bool = False) -> Tensor:
        """The images (n, 3, side, side) uint8 that encoders of that domain learn from, without labels.

        alike: only as many as there are colour faces, and of faces only those, so that the domains differ in nothing
        but what they show.
        """
        if domain not in DOMAINS:
            raise WorkbookError(f"The domains are {choices(DOMAINS)}, not '{domain}': choose one.")
        if alike:
            most = min(len(self.objects.images["learn"]), len(self.faces.colour))
            return (self.objects.images["learn"] if domain == "objects" else self.faces.colour)[:most]
        return self.objects.images["learn"] if domain == "objects" else self.faces.images

    def labelled(self, domain: str = "objects") -> Labelled:
        """Labelled parts by name: "objects", their first "five" classes, "identity" or "expression"."""
        if domain in OBJECT_TASKS:
            return self.objects if domain == "objects" else self.objects.of_classes(5)
        if domain not in FACE_TASKS:
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

    def seeds_of(self, trained: tuple[str, str | None]) -> list[int]:
        """The seeds of a case (method, removed part): the first alone for those of `ONCE`."""
        return self.scale.seeds[:1] if trained in ONCE else self.scale.seeds

    @property
    def watch(self) -> CollapseWatch:
        """Collapse along training, on held-out objects."""
        return CollapseWatch(self.objects.images["held"][:WATCHED])

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

        Encoders of faces take `domain_steps`, those without a part as many as `collapse_steps` says.
        """
        steps = self.scale.steps if domain == "objects" else self.scale.domain_steps
        steps = self.collapse_steps(method) if without else steps
        return self.trained(Asked(steps, method, seed, views, domain, without, rate))

    def trained(self, asked: Asked) -> Trained:
        """A training of so many steps, read once in a session."""
        if asked not in self.read:
            plan = self.plan_of(asked.method, asked.views, asked.without)
            recipe = self.descent(asked.steps, asked.rate or self.tuned_rate(asked.method), asked.seed)
            watch = self.watch if asked.domain == "objects" else None
            images = self.pretraining(asked.domain, asked.alike)
            self.read[asked] = self.trained_anywhere(train_family, images, plan, recipe, watch)
        return self.read[asked]

    def collapse_steps(self, method: str) -> int:
        """Steps of the runs that show a family's collapse: `short_steps`, and for those of `SLOW` `steps`."""
        return self.scale.steps if method in SLOW else self.scale.short_steps

    def short(self, method: str, seed: int = 0, without: str | None = None) -> Trained:
        """A training of `collapse_steps` with all parts, or without one: what the collapse runs compare."""
        return self.trained(Asked(self.collapse_steps(method), method, seed, without=without))

    def of_length(self, steps: int, seed: int = 0, views: AnyViews = STANDARD) -> Trained:
        """SimCLR trained for so many steps: page 17 asks whether a gain has settled."""
        return self.trained(Asked(steps, "SimCLR", seed, views))

    def left_out(self, name: str | None, seed: int = 0, domain: str = "objects", method: str = "SimCLR") -> Trained:
        """A training of `domain_steps` without that augmentation; None: with all. As many pictures in each domain."""
        views = left_out(name) if name else STANDARD
        return self.trained(Asked(self.scale.domain_steps, method, seed, views, domain, alike=True))

    def rate_accuracies(self, method: str) -> dict[float, float]:
        """Held-out accuracy of the linear probe for each rate after `tune_steps`; method: also "supervised"."""
        steps = self.scale.tune_steps
        found = {}
        for rate in self.scale.rates:
            if method == "supervised":
                trained = self.supervised(steps=steps, rate=rate)
            else:
                trained = self.trained(Asked(steps, family(method).name, rate=rate))
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

    def supervised(
        self, seed: int = 0, views: AnyViews = STANDARD, steps: int | None = None, rate: float | None = None
    ) -> Trained:
        """An encoder trained with the labels of the objects, on two views of each picture.

        steps: None for those of the families; rate: None for the tuned one.
        """
        data = self.objects
        recipe = self.descent(steps or self.scale.steps, rate or self.tuned_rate("supervised"), seed)
        return self.trained_anywhere(
            train_classifier, data.images["learn"], data.labels["learn"], self.sizes, views, recipe
        )

    def untrained(self, seed: int = 0, domain: str = "objects") -> Trained:
        """What the families start from, with the batch statistics of that domain's views."""
        images = self.pretraining(domain)
        return self.run.kept(untrained, images, self.plan_of(METHODS[0]), self.scale.batch, seed, self.device)

    def encoder_from(self, trained: Trained) -> Encoder:
        """The frozen encoder of a training, on the run's device."""
        with seeded(0):  # the weights come from the training, and the run's own random numbers stay untouched
            found = Encoder(self.scale.width, self.scale.stem)
        found.load_state_dict(trained["weights"])
        return found.to(self.run.device).eval().requires_grad_(False)

    def encoder(self, method: str, seed: int = 0, views: AnyViews = STANDARD, domain: str = "objects") -> nn.Module:
        """A frozen encoder: images (n, 3, side, side) in [0,1] to features (n, d).

        method: one of `METHODS`, "supervised" (objects alone), "untrained" or "raw pixels" (the picture as it is).
        """
        if method == "raw pixels":
            return nn.Flatten()
        if method == "untrained":
            return self.encoder_from(self.untrained(seed, domain))
        if method == "supervised":
            if domain != "objects":
                raise WorkbookError("The supervised encoder learns the objects' classes: there is none of faces.")
            return self.encoder_from(self.supervised(seed, views))
        return self.encoder_from(self.ssl(method, seed, views, domain))

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

    def read_on(self, tasks: tuple[str, ...], method: str, seed: int = 0, domain: str = "objects") -> dict[str, dict]:
        """What `fitted` gives for a method's encoder on each of the tasks, by task."""
        encoder = self.encoder(method, seed, domain=domain)
        return {task: self.fitted(encoder, task) for task in tasks}

    def read_short(self, method: str, seed: int = 0, without: str | None = None) -> dict:
        """What `fitted` gives for a short training; method "untrained" for where it starts."""
        trained = self.untrained(seed) if method == "untrained" else self.short(method, seed, without)
        return self.fitted(self.encoder_from(trained))

    def read_asked(self, asked: Asked, task: str = "objects") -> dict:
        """What `fitted` gives for a training by what was asked for."""
        return self.fitted(self.encoder_from(self.trained(asked)), task)

    def read_left_out(self, name: str | None, seed: int = 0, domain: str = "objects") -> dict:
        """What `fitted` gives without that augmentation: on objects for their classes, on faces for identity."""
        task = "objects" if domain == "objects" else "identity"
        return self.fitted(self.encoder_from(self.left_out(name, seed, domain)), task)

    def conformal_plan(self) -> dict[str, Callable[[], object]]:
        """What page 17 trains beside the encoders of page 15, by name, with its probes; those of a verdict first."""
        jobs: dict[str, Callable[[], object]] = {}
        seeds, s = self.scale.seeds, self.scale
        for method, kinds in TRAINED_VIEWS.items():
            for kind in kinds:
                for seed in seeds:
                    asked = Asked(s.steps, method, seed, bent_views(kind, method))
                    jobs[f"{kind} {method} {seed}"] = partial(self.read_asked, asked)
        for seed in seeds:
            for name in ("standard", "moebius"):
                views = STANDARD if name == "standard" else bent_views(name)
                asked = Asked(s.face_steps, "SimCLR", seed, views, "faces")
                jobs[f"pose {name} {seed}"] = partial(self.read_asked, asked, "identity")
        for seed in seeds:
            for word, steps in (("short", s.short_steps), ("long", s.long_steps)):
                for name, views in (("standard", STANDARD), ("released", bent_views("released"))):
                    asked = Asked(steps, "SimCLR", seed, views)
                    jobs[f"{name} {word} SimCLR {seed}"] = partial(self.read_asked, asked)
        return jobs

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of the three pages by name, with page 15's probes of it; those that a verdict needs first."""
        jobs: dict[str, Callable[[], object]] = {}
        for method in (*METHODS, "supervised"):
            jobs[f"rates {method}"] = partial(self.rate_accuracies, method)
        for seed in self.scale.seeds:
            for method in (*METHODS, "supervised", "untrained"):
                jobs[f"{method} {seed}"] = partial(self.read_on, OBJECT_TASKS, method, seed)
        for method, part in (*((method, None) for method in METHODS), *REMOVALS):
            for seed in self.seeds_of((method, part)):
                word = f"{method} without {part}" if part else method
                jobs[f"short {word} {seed}"] = partial(self.read_short, method, seed, part)
        jobs |= self.conformal_plan()
        for seed in self.scale.seeds:
            for domain in DOMAINS:
                for name in (None, *LEFT_OUT):
                    word = f"without {name}" if name else "with all"
                    jobs[f"{domain} {word} {seed}"] = partial(self.read_left_out, name, seed, domain)
        for method in (*TRAINED_ON_FACES, "untrained"):
            jobs[f"faces {method} 0"] = partial(self.read_on, FACE_TASKS, method, 0, "faces")
        jobs["raw pixels 0"] = partial(self.read_on, (*OBJECT_TASKS, *FACE_TASKS), "raw pixels")
        return jobs


def study_for(run: Run, **knobs: dict[str, object]) -> SSLStudy:
    """The study at the run's scale, with its table and the page's own knobs shown."""
    return SSLStudy(run, run.scale(**SIZES, **knobs))
