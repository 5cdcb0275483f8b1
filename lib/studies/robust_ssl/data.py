"""What pages 15 to 17 learn from and are tested on: objects, faces, and labelled parts that share no picture."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import LongTensor, Tensor

from lib.book.run import Run
from lib.data.datasets.expressions import VOTES
from lib.data.pairs import without_people
from lib.data.sets import ImageSet
from lib.errors import WorkbookError, choices
from lib.studies.pages import for_page
from lib.training.batches import resize_uint8
from lib.training.people import images_by_person

PARTS = ("learn", "held", "test")
EXPRESSIONS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
CALLED = {"happiness": 3, "sadness": 4, "anger": 5} | {word: at for at, word in enumerate(EXPRESSIONS)}
KAGGLE = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the order of the set's own labels


@dataclass(frozen=True, eq=False)
class Labelled:
    """Parts by name ("learn", "held", "test") of images (n, 3, side, side) uint8 and labels (n,)."""

    images: dict[str, Tensor]
    labels: dict[str, LongTensor]
    classes: tuple[str, ...]

    def part(self, name: str, most: int | None = None) -> tuple[Tensor, LongTensor]:
        """Up to `most` images in [0,1] of a part, and their labels."""
        if name not in self.images:
            raise WorkbookError(f"The parts are {choices(list(self.images))}, not '{name}': choose one.")
        return self.images[name][:most].float() / 255, self.labels[name][:most]

    def of_classes(self, count: int) -> "Labelled":
        """The pictures of the first `count` classes alone."""
        if not 2 <= count <= len(self.classes):
            raise WorkbookError(f"A part holds 2 to {len(self.classes)} classes, not {count}: choose so many.")
        kept = {name: labels < count for name, labels in self.labels.items()}
        images = {name: self.images[name][rows] for name, rows in kept.items()}
        return Labelled(images, {name: self.labels[name][rows] for name, rows in kept.items()}, self.classes[:count])


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces to pre-train on, images (n, 3, side, side) uint8, and what probes are fitted and tested on.

    identity: people who are not among `images`; expression: FER2013's own parts.
    """

    images: Tensor
    identity: Labelled
    expression: Labelled


def drawn(index: LongTensor, most: int) -> LongTensor:
    """Up to `most` of the positions, always the same random ones."""
    order = torch.randperm(len(index), generator=torch.Generator().manual_seed(0))
    return index[order[:most]]


def coloured(images: ImageSet, index: LongTensor, side: int) -> Tensor:
    """Pictures as uint8 (k, 3, side, side); gray ones three times."""
    found = resize_uint8(images, index, side)
    return found.expand(-1, 3, -1, -1).contiguous() if found.shape[1] == 1 else found


def objects_for(run: Run, scale: SimpleNamespace) -> Labelled:
    """CIFAR-10; "learn" and "held" are cut from its training part. At smoke its embedded stand-in."""
    images = for_page(run, "cifar10")
    if not {"train", "test"} <= set(images.splits):
        raise WorkbookError(f"'{images.name}' has no parts train and test: take cifar10 or another set of objects.")
    mixed = drawn(images.splits["train"], len(images.splits["train"]))
    parts = {"held": mixed[: scale.held], "learn": mixed[scale.held : scale.held + scale.learn]}
    parts["test"] = drawn(images.splits["test"], scale.test)
    return labelled(images, parts, images.labels, scale.side)


def labelled(
    images: ImageSet, parts: dict[str, LongTensor], labels: LongTensor, side: int, classes: tuple[str, ...] = ()
) -> Labelled:
    """The pictures of each part, with labels (n,) of the whole set."""
    pixels = {name: coloured(images, parts[name], side) for name in PARTS}
    return Labelled(pixels, {name: labels[parts[name]] for name in PARTS}, classes or tuple(images.classes))


def faces_for(run: Run, scale: SimpleNamespace) -> Faces:
    """CelebA's, LFW's and FER2013's faces; LFW's people who stand in no test pair, and CelebA's whom no probe names.

    At smoke, and on one's own data, one set serves for all.
    """
    celeba = for_page(run, "celeba_sub")
    people = probed_people(celeba.labels, scale.people)
    identity = identity_parts(celeba, people, scale.side)
    rest = (~torch.isin(celeba.labels, people)).nonzero().flatten()
    fer = for_page(run, "fer2013")
    expression, learnt = expression_parts(fer, scale)
    pixels = [coloured(celeba, drawn(rest, scale.faces), scale.side)]
    if not run.smoke and run.data == "auto":
        lfw = for_page(run, "lfw")
        alone = without_people(lfw, *lfw.pairs.values())
        pixels.append(coloured(lfw, drawn(alone, scale.faces - len(pixels[0])), scale.side))
        missing = max(0, scale.faces - sum(len(part) for part in pixels))
        pixels.append(coloured(fer, drawn(learnt, missing), scale.side))
    return Faces(torch.cat(pixels), identity, expression)


def probed_people(labels: LongTensor, most: int) -> LongTensor:
    """Up to `most` people, those with the most pictures first, at most half of all."""
    people, counts = labels.unique(return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return people[order[: min(most, len(people) // 2)]]


def identity_parts(images: ImageSet, people: LongTensor, side: int) -> Labelled:
    """The pictures of `people`, labelled from 0: of each person's, one in five is held out and three in ten test."""
    mine = torch.isin(images.labels, people).nonzero().flatten()
    names, labels = images.labels[mine].unique(return_inverse=True)
    turn = images_by_person(labels).turn % 10
    rows = {"test": (turn % 10) // 3 == 1, "held": (turn == 1) | (turn == 7)}  # 3, 4 and 5 of each ten are tested
    rows["learn"] = ~(rows["test"] | rows["held"])
    whole = torch.full((len(images),), -1)
    whole[mine] = labels
    classes = tuple(images.classes[name] for name in names.tolist())
    return labelled(images, {name: mine[row] for name, row in rows.items()}, whole, side, classes)


def expression_parts(images: ImageSet, scale: SimpleNamespace) -> tuple[Labelled, LongTensor]:
    """Expressions by FER+'s majority in the official parts, and the training positions whose labels nobody sees."""
    classes = classes_of(images)
    splits = images.splits
    if "public_test" in splits:
        parts = {"learn": splits["train"], "held": splits["public_test"], "test": splits["private_test"]}
    else:
        mixed = drawn(splits["train"], len(splits["train"]))
        parts = {"held": mixed[: scale.held], "learn": mixed[scale.held :], "test": splits["test"]}
    known = {name: index[classes[index] >= 0] for name, index in parts.items()}
    most = {"learn": scale.expressions, "held": scale.held, "test": scale.test}
    chosen = {name: drawn(known[name], most[name]) for name in PARTS}
    return labelled(images, chosen, classes, scale.side, EXPRESSIONS), splits["train"]


def classes_of(images: ImageSet) -> LongTensor:
    """The expression (n,) of each picture, a place in `EXPRESSIONS`, -1 where it has none."""
    if "votes" in images.attributes:
        return majority(images.attributes["votes"])
    if "expression" in images.attributes:
        return torch.tensor([CALLED[name] for name in KAGGLE])[images.attributes["expression"]]
    place = [CALLED.get(name.lower(), -1) for name in images.classes]
    if max(place) < 0:
        raise WorkbookError(f"'{images.name}' knows no expression: take fer2013 or raf_db.")
    return torch.tensor(place)[images.labels]


def majority(votes: Tensor) -> LongTensor:
    """FER+'s votes (n, 10) to classes of `EXPRESSIONS` (n,); -1 where no vote leads or another word does."""
    place = torch.tensor([CALLED.get(name, -1) for name in VOTES])
    top = votes.topk(2, dim=1)
    leads = (top.values[:, 0] > top.values[:, 1]) & (top.values[:, 0] > 0)
    return place[top.indices[:, 0]].where(leads, -1)
