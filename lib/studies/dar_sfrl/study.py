"""DAR-SFRL as pages 09 to 11 share it: one table of sizes, one choice of data, trainings that are kept."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from types import SimpleNamespace

import torch
from torch import LongTensor, Tensor, nn

from lib.book.run import Run, per_profile
from lib.data.datasets.expression_classes import EXPRESSIONS
from lib.data.loading import load
from lib.data.pairs import without_people
from lib.data.procedural_faces.parameters import ACTION_UNITS
from lib.data.sets import ImageSet, Pairs
from lib.errors import WorkbookError, choices
from lib.seeds import seeded
from lib.studies.base import Study
from lib.studies.dar_sfrl.adversarial import CleanError, Supervised, TrunkClassifier
from lib.studies.dar_sfrl.contrastive import Contrasted, FaceContrast, FaceContrasted, MoCo, SimCLR
from lib.studies.dar_sfrl.evaluation import Probe, ProbeRecipe, features_of, fit_probe, probe_from
from lib.studies.dar_sfrl.facecycle import FaceCycle, MotionCycle, train_facecycle
from lib.studies.dar_sfrl.fra import FRA, RegionAgreement, RegionTrunk
from lib.studies.dar_sfrl.networks import Guarded, Pixels
from lib.studies.dar_sfrl.no_dafr import NOCL, FacePart, NoiseOrthogonal, Split
from lib.studies.dar_sfrl.pcl import PCL, Disentangled
from lib.studies.dar_sfrl.purification import Diffusion, train_diffusion
from lib.studies.dar_sfrl.robust_contrast import ROBUST, RobustContrasted, robust_contrast, robust_trunk
from lib.studies.dar_sfrl.training import (
    DIFFERENCES,
    LOSSES,
    PAPER,
    RELEASED,
    STEPWISE,
    SUMMED,
    Network,
    Objective,
    train_dar,
)
from lib.studies.pages import for_page, official_pairs
from lib.training.labelled import PARTS, Labelled, coloured, drawn, expression_parts
from lib.training.loop import Loss, Measure, Recipe, Trained, fit

# Rows for `run.scale`, the same on all three pages, so that a network is trained once for all of them. The source:
# 64 pixels, batch 256, about 15 000 iterations, projections of 2048 and 512.
SIZES = {
    "side": per_profile(16, 32, 64, 64),
    "faces": per_profile(40, 16_000, 100_000, 1_000_000),
    "learn": per_profile(60, 8000, 25_000, 1_000_000),
    "held": per_profile(30, 1500, 3000, 3000),
    "test": per_profile(30, 1500, 3000, 10_000),
    "attacked": per_profile(8, 500, 3000, 3000),
    "unit_people": per_profile(10, 60, 150, 300),
    "unit_images": per_profile(4, 25, 40, 40),
    "hidden": per_profile(8, 256, 2048, 2048),
    "dim": per_profile(8, 64, 512, 512),
    "mixer": per_profile(8, 64, 256, 256),
    "width": per_profile(4, 32, 64, 64),
    "shrink": per_profile(32, 4, 1, 1),
    "pose_negatives": per_profile(3, 16, 100, 100),
    "queue": per_profile(32, 4096, 16_384, 65_536),
    "batch": per_profile(8, 64, 256, 256),
    "dar_batch": per_profile(8, 32, 256, 256),
    "dar_rate": per_profile(1e-3, 1e-3, 3e-4, 1e-4),
    "dar_steps": per_profile(3, 1500, 4000, 15_000),
    "ablation_steps": per_profile(3, 400, 1500, 15_000),
    "ssl_steps": per_profile(3, 4000, 20_000, 100_000),
    "baseline_steps": per_profile(3, 2000, 10_000, 50_000),
    "pcl_steps": per_profile(3, 1000, 15_000, 15_000),
    "robust_steps": per_profile(3, 800, 10_000, 50_000),
    "region_width": per_profile(4, 16, 32, 64),
    "region_steps": per_profile(3, 1000, 15_000, 50_000),
    "cycle_steps": per_profile(3, 800, 15_000, 50_000),
    "class_steps": per_profile(3, 2500, 10_000, 30_000),
    "trades_steps": per_profile(3, 1500, 10_000, 30_000),
    "inner_steps": per_profile(2, 5, 10, 10),
    "diffusion_steps": per_profile(2, 1500, 20_000, 100_000),
    "diffusion_widths": per_profile([8, 8], [16, 32, 64], [32, 64, 96, 128], [64, 128, 192, 256]),
    "probe_epochs": per_profile(3, 60, 300, 300),
    "seeds": per_profile([0, 1], [0, 1], [0, 1, 2], [0, 1, 2]),
}
UNITS = (1, 2, 4, 6, 9, 12, 25, 26)  # DISFA's eight
PRESENT = 0.3  # intensity from which a unit counts as present
METHODS = (
    "DAR-SFRL",
    "DAR-SFRL, printed sum",
    "PCL",
    "SimCLR",
    "MoCo",
    "FRA",
    "FaceCycle",
    "baseline",
    "raw pixels",
    "untrained",
    "DAR before SimCLR",
)
DEFENCES = ("DiffPure", *ROBUST, "TRADES")
FOREIGN = 2  # seed of page 10's surrogate: its weights start where no encoder's do
JUDGED = ("random frame of the person as target", "mirror image and its MSE")  # differences that carry a claim
ALONE = STEPWISE.but(losses=("mae",))
# Which row of `SIZES` says how long a method without labels trains; the others: "ssl_steps".
LENGTHS = {
    "PCL": "pcl_steps",
    "baseline": "baseline_steps",
    "FRA": "region_steps",
    "FaceCycle": "cycle_steps",
    **dict.fromkeys(ROBUST, "robust_steps"),
}
ABLATIONS = ("baseline", "no NOCL", "no DAFR", "full")  # Table 4's rows A, B, C and the last


def expressions_for(run: Run, scale: SimpleNamespace) -> Labelled:
    """FER2013 by FER+'s majority and in its official splits; at smoke procedural faces, people in one part only."""
    return expression_parts(for_page(run, "fer2013"), {name: getattr(scale, name) for name in PARTS}, scale.side)


def faces_for(run: Run, scale: SimpleNamespace) -> tuple[Tensor, LongTensor]:
    """Unlabelled faces uint8 (n, 3, side, side) to learn from, and people (n,), -1 where unknown.

    LFW's people who stand in no test pair, the CelebA part and FER2013's training images; at smoke procedural faces.
    People are known to no loss but to the released code's random targets.
    """
    lfw = for_page(run, "lfw")
    index = without_people(lfw, *lfw.pairs.values()) if lfw.pairs else torch.arange(len(lfw))
    share = scale.faces if run.smoke or run.data != "auto" else scale.faces // 3
    sets = [(lfw, index, True)]
    if not run.smoke and run.data == "auto":
        celeba, fer = for_page(run, "celeba_sub"), for_page(run, "fer2013")
        sets += [(celeba, torch.arange(len(celeba)), True), (fer, fer.splits["train"], False)]
    pixels, people, offset = [], [], 0
    for images, rows, named in sets:
        rows = drawn(rows, share)
        pixels.append(coloured(images, rows, scale.side))
        people.append(images.labels[rows] + offset if named else torch.full((len(rows),), -1))
        offset += int(images.labels.max()) + 1
    return torch.cat(pixels), torch.cat(people)


def units_for(run: Run, scale: SimpleNamespace, folds: int = 3) -> tuple[Tensor, Tensor, LongTensor]:
    """Procedural faces uint8 (n, 3, side, side), the presence of `UNITS` (n, 8) bool, and folds (n,) by person.

    There is no free real set with coded action units: every caption has to say so.
    """
    faces = load("procedural", people=scale.unit_people, per_person=scale.unit_images, seed=7, size=112)
    run.uses("data", f"{faces.source} (action units)")
    grades = faces.attributes["action_units"]
    present = torch.stack([grades[:, list(ACTION_UNITS).index(unit)] > PRESENT for unit in UNITS], dim=1)
    return coloured(faces, torch.arange(len(faces)), scale.side), present, faces.labels % folds


def pairs_for(run: Run, scale: SimpleNamespace, name: str = "cfp") -> tuple[ImageSet, Pairs, LongTensor, Tensor]:
    """The official pairs of a set, CFP-FP for "cfp": the set, its pairs, and the images they need, by position.

    The last two: positions (k,) in the set, and the images uint8 (k, 3, side, side) in that order.
    """
    images = for_page(run, name)
    pairs = images.pairs.get("FP", official_pairs(images))
    needed = torch.cat([pairs.first, pairs.second]).unique()
    return images, pairs, needed, coloured(images, needed, scale.side)


def train_self_supervised(
    loss: Loss, model: nn.Module, recipe: Recipe, measure: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A model with a `trunk` trained by a loss on its own images: the trunk's weights, PCL's face branch, history."""
    model = model.to(device)
    history = fit(model, loss, len(loss.images), recipe, held_out=measure, label=f"training {type(loss).__name__}")
    parts = {"weights": model.trunk.state_dict(), "history": history}
    return parts | ({"branch": model.face.state_dict()} if hasattr(model, "face") else {})


def train_supervised(
    loss: Supervised, model: TrunkClassifier, recipe: Recipe, measure: Measure | None = None, device: str = "cpu"
) -> Trained:
    """A classifier trained by a supervised loss: weights and history."""
    history = fit(model.to(device), loss, len(loss.images), recipe, held_out=measure, label=f"training {loss.base}")
    return {"weights": model.state_dict(), "history": history}


class DARStudy(Study):
    """The trainings of all three pages on one choice of data, each done once and kept."""

    @cached_property
    def faces(self) -> tuple[Tensor, LongTensor]:
        """What is learnt from without labels, and people."""
        return faces_for(self.run, self.scale)

    @cached_property
    def couples(self) -> tuple[Tensor, LongTensor]:
        """Those of the faces, with their people, whose person has another picture among them."""
        images, people = self.faces
        names, counts = people.unique(return_counts=True)
        several = torch.isin(people, names[(counts > 1) & (names >= 0)])
        return images[several], people[several]

    @cached_property
    def expressions(self) -> Labelled:
        """What the expression probe is fitted, chosen and tested on."""
        return expressions_for(self.run, self.scale)

    def network(self, **changes: object) -> Network:
        """DAR at this scale; changes: fields of `Network`, as stages=2 or operator="CNN"."""
        s = self.scale
        return replace(Network(s.side, hidden=s.hidden, dim=s.dim, mixer=s.mixer), **changes)

    def dar(
        self, seed: int = 0, objective: Objective = STEPWISE, steps: int | None = None, **changes: object
    ) -> Trained:
        """A restorer's training; steps: None for the main length. changes: fields of `Network`."""
        images, people = self.faces
        if len(objective.steps) == 1:  # nothing to alternate
            objective = objective.but(alternating=False)
        s = self.scale
        recipe = self.recipe(steps or s.dar_steps, s.dar_batch, s.dar_rate, seed=seed, clip=1.0)
        objective = objective.but(pose_negatives=s.pose_negatives)
        known = people if objective.target == "person" else None
        return self.trained_anywhere(train_dar, images, self.network(**changes), objective, recipe, known, None)

    def restorer(self, seed: int = 0, steps: int | None = None) -> nn.Module:
        """The restorer of the main training, or of one of `steps` iterations, frozen, on the run's device."""
        return self.network().loaded(self.dar(seed, steps=steps)).to(self.run.device)

    @property
    def short_steps(self) -> int:
        """Optimiser steps of a short training; an alternating one takes three in each of `ablation_steps` turns."""
        return len(STEPWISE.steps) * self.scale.ablation_steps

    def short_training(self, seed: int = 0, objective: Objective = STEPWISE, **changes: object) -> Trained:
        """A short training, of `short_steps` optimiser steps for a sum as for all three kinds in turn."""
        steps = self.scale.ablation_steps if objective.alternating else self.short_steps
        return self.dar(seed, objective, steps, **changes)

    def short(self, seed: int = 0, objective: Objective = STEPWISE, **changes: object) -> nn.Module:
        """The restorer of a short training, frozen, on the run's device."""
        trained = self.short_training(seed, objective, **changes)
        return self.network(**changes).loaded(trained).to(self.run.device)

    def self_supervised(self, name: str, seed: int = 0) -> Trained:
        """The training of "PCL", "SimCLR", "MoCo", "FRA", "FaceCycle", "RoCL", "ACL" or the "baseline".

        All learn from the same faces. That of "FaceCycle" also holds the trunk of its identity stage, "identity".
        """
        s, images = self.scale, self.faces[0]
        sizes = {"side": s.side, "width": s.width}
        with seeded(seed):
            if name == "PCL":
                epoch = max(1, len(images) // s.batch)
                model = PCL(**sizes, hidden=2 * s.hidden, dim=s.dim, shrink=s.shrink, epoch=epoch)
                loss = Disentangled(images, s.pose_negatives)
            elif name == "FRA":
                model = FRA(s.region_width, 4, 2 * s.hidden, s.dim, s.region_steps)
                loss = RegionAgreement(images)
            elif name == "FaceCycle":
                model = FaceCycle(**sizes, inner=max(4, s.width // 2), dim=s.hidden)
                loss = MotionCycle(*self.couples)
            elif name in ROBUST:
                model = RobustContrasted(name, **sizes, hidden=2 * s.hidden, dim=s.dim)
                loss = robust_contrast(name, images, s.inner_steps)
            elif name == "baseline":
                model = FaceContrasted(**sizes, hidden=2 * s.hidden, dim=s.dim)
                loss = FaceContrast(images)
            elif name in ("SimCLR", "MoCo"):
                model = Contrasted(**sizes, hidden=2 * s.hidden, dim=s.dim)
                loss = SimCLR(images) if name == "SimCLR" else MoCo(images, model, s.queue)
            else:
                raise WorkbookError(
                    f"'{name}' is not trained without labels here: choose PCL, SimCLR, RoCL, FaceCycle..."
                )
        steps = getattr(s, LENGTHS.get(name, "ssl_steps")) * (3 if name == "PCL" else 1)  # PCL: three kinds in turn
        rate = 3e-4 if name == "PCL" else 1e-3  # at 1e-3 PCL's encoder collapses: its face loss stays at chance
        recipe = self.recipe(steps, s.batch, rate, seed=seed, clip=1.0, warmup=steps // 20)
        if name == "FaceCycle":  # its identity stage takes half as long, as in the source
            again = replace(recipe, steps=max(1, steps // 2), warmup=steps // 40)
            return self.trained_anywhere(train_facecycle, loss, model, recipe, again)
        return self.trained_anywhere(train_self_supervised, loss, model, recipe, None)

    def ablation_training(self, name: str, seed: int = 0) -> Trained:
        """The training of one of `ABLATIONS`, all with the same number of optimiser steps.

        Each steps on the sum of the losses that it keeps; L_mae in it is the printed norm. Encoders take the batch of
        the other encoders, and a rate at which both of their contrasts learn: at 1e-3 they end at one answer to all.
        """
        s = self.scale
        if name not in ABLATIONS:
            raise WorkbookError(f"The ablations are {choices(ABLATIONS)}, not '{name}': choose one.")
        if name in ("full", "no NOCL"):
            return self.short_training(seed, PAPER if name == "full" else PAPER.but(losses=("mae",)))
        images, steps = self.faces[0], self.short_steps
        with seeded(1000 + seed):  # by `seed` alone its trunk would begin as that of the surrogate does
            model = Split(s.side, s.width, 2 * s.hidden, s.dim, epoch=max(1, len(images) // s.batch))
        loss = NoiseOrthogonal(images, ("face",) if name == "baseline" else NOCL)
        recipe = self.recipe(steps, s.batch, 3e-4, seed=seed, clip=1.0, warmup=steps // 20)
        return self.trained_anywhere(train_self_supervised, loss, model, recipe, None)

    def ablation(self, name: str, seed: int = 0) -> nn.Module:
        """The frozen encoder of one of `ABLATIONS`: images (n, 3, side, side) in [0,1] to features.

        Those with DAFR give restored pixels, the others the face part of an encoder's map.
        """
        trained, s = self.ablation_training(name, seed), self.scale
        if name in ("full", "no NOCL"):
            found: nn.Module = Pixels(self.network().loaded(trained))
        else:
            found = FacePart(s.side, s.width)
            found.trunk.load_state_dict(trained["weights"])
            found.face.load_state_dict(trained["branch"])
        return found.to(self.run.device).eval().requires_grad_(False)

    def encoder(self, name: str, seed: int = 0) -> nn.Module:
        """A method's frozen encoder: images (n, 3, side, side) in [0,1] to the features its probe stands on."""
        with seeded(seed):
            trunk = Contrasted(self.scale.side, self.scale.width, 8, 8).trunk
        if name == "DAR-SFRL":
            found: nn.Module = Pixels(self.restorer(seed))
        elif name == "DAR-SFRL, printed sum":
            found = Pixels(self.short(seed, PAPER))
        elif name == "raw pixels":
            found = Pixels()
        elif name == "DAR before SimCLR":
            return Guarded(self.restorer(seed), self.encoder("SimCLR", seed))
        elif name == "untrained":
            found = trunk
        else:
            if name == "FRA":
                trunk = RegionTrunk(self.scale.region_width)
            elif name in ROBUST:
                trunk = robust_trunk(name, self.scale.width)
            found = trunk
            found.load_state_dict(self.self_supervised(name, seed)["weights"])
        return found.to(self.run.device).eval().requires_grad_(False)

    def classifier(self, base: str = "natural", seed: int = 0) -> nn.Module:
        """A supervised classifier of expressions, "natural" (the surrogate) or "TRADES", frozen."""
        s, data = self.scale, self.expressions
        steps = s.class_steps if base == "natural" else s.trades_steps
        with seeded(seed):
            model = TrunkClassifier(s.side, s.width, len(EXPRESSIONS))
        loss = Supervised(data.images["learn"], data.labels["learn"], base, steps=s.inner_steps)
        recipe = self.recipe(steps, s.batch, 1e-3, seed=seed, clip=1.0, warmup=steps // 20)
        trained = self.trained_anywhere(train_supervised, loss, model, recipe, CleanError(*data.part("held")))
        model.load_state_dict(trained["weights"])
        return model.to(self.run.device).eval().requires_grad_(False)

    def diffusion(self) -> nn.Module:
        """The diffusion model of DiffPure, frozen; trained at up to 32 pixels on the same faces."""
        side = min(self.scale.side, 32)
        images = self.faces[0] if self.scale.side == side else torch.nn.functional.avg_pool2d(self.faces[0].float(), 2)
        images = images.byte()
        plan = Diffusion(side, tuple(self.scale.diffusion_widths))
        recipe = self.recipe(self.scale.diffusion_steps, 64, 1e-3, clip=1.0)
        trained = self.trained_anywhere(train_diffusion, images, plan, recipe, 200)
        return plan.loaded(trained).to(self.run.device)

    def fitted(self, encoder: nn.Module, recipe: ProbeRecipe | None = None) -> dict[str, Tensor]:
        """The expression probe of an encoder: its weights chosen on held-out and on test images, its curves."""
        data, recipe = self.expressions, recipe or ProbeRecipe(epochs=self.scale.probe_epochs)
        return self.run.kept(probe_expressions, encoder, data.images, data.labels, recipe, self.device)

    def probe(self, encoder: nn.Module, recipe: ProbeRecipe | None = None) -> Probe:
        """The classifier of expressions whose epoch is chosen on held-out images."""
        return probe_from(encoder, self.fitted(encoder, recipe)).to(self.run.device)

    def plan(self) -> dict[str, Callable[[], object]]:
        """Every training of the three pages by name, those that a verdict needs first."""
        jobs: dict[str, Callable[[], object]] = {}
        for seed in self.scale.seeds:
            jobs[f"DAR {seed}"] = partial(self.dar, seed)
        for seed in self.scale.seeds:
            for name, objective in {"sum norm": PAPER, "sum mean": SUMMED, "released": RELEASED}.items():
                jobs[f"{name} {seed}"] = partial(self.short_training, seed, objective)
            for name in ABLATIONS[:3]:  # "full" is "sum norm"
                word = f"short {name}" if name == "baseline" else name
                jobs[f"{word} {seed}"] = partial(self.ablation_training, name, seed)
            jobs[f"L_mae alone {seed}"] = partial(self.short_training, seed, ALONE)
            for stages in (1, 2, 4, 5):  # three: "sum norm"
                jobs[f"K {stages} {seed}"] = partial(self.short_training, seed, PAPER, stages=stages)
            for operator in ("CNN", "LSTM", "Transformer"):
                jobs[f"M {operator} {seed}"] = partial(self.short_training, seed, PAPER, operator=operator)
        jobs["surrogate"] = self.classifier
        jobs["foreign surrogate"] = partial(self.classifier, "natural", FOREIGN)
        jobs["TRADES"] = partial(self.classifier, "TRADES")
        jobs["diffusion"] = self.diffusion
        for seed in self.scale.seeds:
            for name in ("SimCLR", "PCL", "MoCo"):
                jobs[f"{name} {seed}"] = partial(self.self_supervised, name, seed)
        jobs["baseline 0"] = partial(self.self_supervised, "baseline", 0)
        jobs["FaceCycle 0"] = partial(self.self_supervised, "FaceCycle", 0)
        for name in ROBUST:
            jobs[f"{name} 0"] = partial(self.self_supervised, name, 0)
        jobs["FRA 0"] = partial(self.self_supervised, "FRA", 0)
        for losses in removals():
            jobs["losses " + " ".join(losses)] = partial(self.short_training, 0, PAPER.but(losses=losses))
        for name, change in DIFFERENCES.items():
            for seed in self.scale.seeds if name in JUDGED else self.scale.seeds[:1]:
                jobs[f"difference {name} {seed}"] = partial(self.short_training, seed, STEPWISE.but(**change))
        return jobs


def removals() -> list[tuple[str, ...]]:
    """What is left of the losses when those of NOCL are removed in every order (Table 6): six sets beside mae alone."""
    nocl = [name for name in LOSSES if name != "mae"]
    kept = [tuple(name for at, name in enumerate(nocl) if code >> at & 1) for code in range(1, 7)]
    return [("mae", *names) for names in kept]


def probe_expressions(
    encoder: nn.Module,
    images: dict[str, Tensor],
    labels: dict[str, LongTensor],
    recipe: ProbeRecipe,
    device: str = "cpu",
) -> dict[str, Tensor]:
    """`fit_probe` on the features of the part "learn", looking at "held" and "test"."""
    features = {name: features_of(encoder, part, device) for name, part in images.items()}
    looks = {name: (features[name], labels[name]) for name in ("held", "test")}
    return fit_probe(features["learn"], labels["learn"], looks, recipe)


def study_for(run: Run) -> DARStudy:
    """The study at the run's scale, with its table shown."""
    return DARStudy(run, run.scale(**SIZES))
