"""ACL-triplet as pages 07 and 08 share it: one table of sizes, one dealing of people, trainings that are kept."""

from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import torch
from torch import LongTensor, Tensor

from lib.book.run import Run, per_profile
from lib.data.parts import deal_people, people_with
from lib.data.sets import ImageSet
from lib.defences.registry import System, register_system
from lib.errors import WorkbookError, choices
from lib.evaluation import bootstrap
from lib.interval import Interval
from lib.losses.margins import class_means
from lib.models import embed_all, load_recogniser
from lib.models.encoders import FaceEncoder
from lib.studies.acl_triplet.evaluation import TripletWatch
from lib.studies.acl_triplet.pretraining import some_labels
from lib.studies.acl_triplet.training import Network, RoutedEncoder, Training, pretrain, tune
from lib.studies.base import Study
from lib.studies.pages import for_page, load_or_reason
from lib.training.batches import resize_uint8
from lib.training.loop import Measure, Recipe, Trained
from lib.training.people import images_by_person

# Rows for `run.scale`. An epoch is one picture of each person, as in the source (8156 people, 64 batches of 128).
SIZES = {
    "side": per_profile(32, 56, 64, 160),
    "depth": per_profile(18, 18, 18, 50),
    "width": per_profile(4, 8, 64, 64),
    "stem": per_profile("half", "half", "half", "imagenet"),
    "batch": per_profile(8, 128, 128, 128),
    "learn_people": per_profile(16, 100_000, 100_000, 100_000),  # at most: above smoke all of them
    "test_images": per_profile(60, 1200, 1200, 1200),
    "held_images": per_profile(40, 600, 600, 600),
    "pre_epochs": per_profile(2, 40, 100, 500),
    "full_epochs": per_profile(3, 40, 100, 250),
    "tune_epochs": per_profile(2, 8, 20, 50),
    "watched_pairs": per_profile(8, 120, 600, 600),
    "watched_people": per_profile(4, 30, 60, 200),
    "watch_steps": per_profile(2, 5, 10, 10),
    "seeds": per_profile([0, 1], [0, 1, 2], [0, 1, 2], [0, 1, 2]),
}
# training by name: its first stage ("none": standard triplet training itself), and the scale's row of its epochs
SYSTEMS = {
    "standard": ("none", "full_epochs"),
    "triplet AT": ("standard", "full_epochs"),
    "pre-training + AT": ("pre-training", "tune_epochs"),
    "short AT of the standard model": ("standard", "tune_epochs"),
    "short AT from scratch": ("scratch", "tune_epochs"),
}
TWIN = 0.45  # cosine of two people's mean embeddings from which they may be one person in two sets


@dataclass(frozen=True, eq=False)
class Watches:
    """What is looked at on people held out: triplets in stage 2, the trunk in stage 1."""

    triplets: TripletWatch | None = None
    trunk: Measure | None = None

    @property
    def plain(self) -> TripletWatch | None:
        """The look at standard triplet training."""
        return self.triplets and replace(self.triplets, way="clean", robust=False)


@dataclass(frozen=True, eq=False)
class Faces:
    """Pictures (n, 3, side, side) uint8 of people with two or more each; labels (n,); people are in one part only."""

    images: Tensor
    labels: LongTensor
    learn: LongTensor
    held_out: LongTensor
    test: LongTensor

    def part(self, index: LongTensor) -> tuple[Tensor, LongTensor]:
        """Images and labels of the pictures `index`."""
        return self.images[index], self.labels[index]


def faces_for(run: Run, scale: SimpleNamespace) -> Faces:
    """LFW's people of two or more pictures, split_by_class to three parts; CelebA's part joins those to learn from.

    With data="celeba" the official partition takes the place of the dealing. People of the CelebA part who may be
    among LFW's held-out or test people are left out, found by a recogniser that no result depends on.
    """
    main = for_page(run, "lfw", others=False)
    several = with_mates(main.labels)
    if "val" in main.splits:
        parts = {"test": main.splits["val"], "held out": main.splits["test"], "learn": main.splits["train"]}
        parts = {name: index[torch.isin(index, several)] for name, index in parts.items()}
    else:
        sizes = {"test": scale.test_images, "held out": scale.held_images, "learn": -1}
        parts = deal_people(main.labels, several, sizes)
    learners = people_with(main.labels, parts["learn"], 2, scale.learn_people)
    parts["learn"] = parts["learn"][torch.isin(main.labels[parts["learn"]], learners)]
    several = several[torch.isin(several, torch.cat(list(parts.values())))]
    images = resize_uint8(main, several, scale.side)
    labels = main.labels[several]
    offset = int(main.labels.max()) + 1
    place = torch.full((len(main),), -1).scatter(0, several, torch.arange(len(several)))
    parts = {name: place[index] for name, index in parts.items()}
    more = None
    if run.data == "auto" and not run.smoke:
        more, _ = load_or_reason(run, "celeba_sub")
    if more is not None:
        seen = torch.cat([several[parts["test"]], several[parts["held out"]]])
        index = run.kept(strangers, more, main, seen, str(run.device))
        images = torch.cat([images, resize_uint8(more, index, scale.side)])
        parts["learn"] = torch.cat([parts["learn"], len(labels) + torch.arange(len(index))])
        labels = torch.cat([labels, more.labels[index] + offset])
    return Faces(images, labels, parts["learn"], parts["held out"], parts["test"])


def with_mates(labels: LongTensor) -> LongTensor:
    """Positions of the pictures whose person has another picture."""
    people = people_with(labels, torch.arange(len(labels)), 2, len(labels))
    return torch.isin(labels, people).nonzero().flatten()


def strangers(faces: ImageSet, others: ImageSet, index: LongTensor, device: str) -> LongTensor:
    """Pictures of people of `faces` with two or more who resemble nobody among the pictures `index` of `others`."""
    model = load_recogniser("mobilefacenet", device)
    own = with_mates(faces.labels)
    means, known = (likenesses(model, *pair) for pair in ((faces, own), (others, index)))
    people = faces.labels[own].unique()
    apart = people[(means @ known.T).amax(1) < TWIN]
    return own[torch.isin(faces.labels[own], apart)]


def likenesses(model: torch.nn.Module, faces: ImageSet, index: LongTensor, most: int = 6) -> Tensor:
    """Unit mean embeddings (k, d) of the people in the pictures `index`, of up to `most` pictures each, on the CPU."""
    few = index[images_by_person(faces.labels[index]).turn < most]
    found = torch.cat([embed_all(model, faces.images(part)).cpu() for part in few.split(512)])
    return class_means(found, faces.labels[few].unique(return_inverse=True)[1])


class ACLTripletStudy(Study):
    """The trainings of both pages on one dealing of people, each done once and kept."""

    def __init__(self, run: Run, scale: SimpleNamespace, faces: Faces):
        super().__init__(run, scale)
        self.faces = faces
        self.images, self.labels = faces.part(faces.learn)
        self.people = len(self.labels.unique())

    def mean(self, values: Tensor) -> Interval:
        """Mean of values (people,), people drawn."""
        return bootstrap(torch.mean, values, seed=self.run.seed)

    def network(self, dual: bool = True) -> Network:
        """The encoder at this scale."""
        s = self.scale
        return Network(s.side, s.depth, s.width, s.stem, dual=dual)

    def recipe_for(self, epochs: int, seed: int, people: int | None = None, rate: float = 1e-3) -> Recipe:
        """Adam with a cosine, looked at ten times; an epoch is one picture (or triplet) of each person."""
        batch = min(self.scale.batch, people or self.people)
        steps = max(1, epochs * (people or self.people) // batch)
        return self.recipe(steps, batch, rate, clip=1.0, seed=seed, warmup=steps // 20)

    def encoder(self, trained: Trained, dual: bool = True) -> FaceEncoder:
        """The encoder with trained weights, frozen, in eval mode, on the run's device."""
        return self.network(dual).loaded(trained).to(self.run.device)

    def pretrained(
        self,
        seed: int = 0,
        share: float = 0.0,
        variant: str = "single",
        dual: bool = True,
        measure: Measure | None = None,
    ) -> Trained:
        """Stage 1 without labels, or with those of a share of the people."""
        training = Training(self.network(dual), self.recipe_for(self.scale.pre_epochs, seed), measure)
        return self.trained(pretrain, self.images, training, self.labels, share, variant, self.device)

    def tuned(
        self,
        epochs: int,
        seed: int = 0,
        start: Trained | None = None,
        adversarial: bool = True,
        share: float = 1.0,
        measure: Measure | None = None,
    ) -> Trained:
        """Triplet training on a share of the people; the same share and seed leave the same people as in stage 1."""
        labels = self.labels if share == 1 else some_labels(self.labels, share, seed)
        recipe = self.recipe_for(epochs, seed, len(labels[labels >= 0].unique()))
        training = Training(self.network(), recipe, measure)
        weights = None if start is None else {"weights": start["weights"]}
        return self.trained(tune, self.images, labels, training, weights, adversarial, self.device)

    def system(self, name: str, seed: int = 0, share: float = 1.0, watches: Watches | None = None) -> Trained:
        """One training of `SYSTEMS` on the labels of a share of the people, from its first stage on."""
        if name not in SYSTEMS:
            raise WorkbookError(f"There is no training '{name}': choose one of {choices(list(SYSTEMS))}.")
        looks = watches or Watches()
        first, epochs = SYSTEMS[name]
        if first == "none":
            return self.tuned(self.scale.full_epochs, seed, adversarial=False, share=share, measure=looks.plain)
        start = None
        if first == "standard":
            start = self.system("standard", seed, share, looks)
        elif first == "pre-training":
            start = self.pretrained(seed, 0.0 if share == 1 else share, measure=looks.trunk)
        return self.tuned(getattr(self.scale, epochs), seed, start, share=share, measure=looks.triplets)


def built(study: ACLTripletStudy, seed: int = 0, watches: Watches | None = None, *, name: str) -> RoutedEncoder:
    """The recogniser of a registered system: clean pictures' route after standard training, else the other."""
    way = "clean" if name == "standard" else "adversarial"
    return RoutedEncoder(study.encoder(study.system(name, seed, watches=watches)), way)


for training in SYSTEMS:
    register_system(
        System(
            f"ACL-triplet: {training}",
            "recogniser",
            ("white box", "transfer", "black box"),
            f"A face encoder of ACL-triplet after '{training}'.",
            partial(built, name=training),
        )
    )
