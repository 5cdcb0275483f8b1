"""What pages 15 to 17 learn from and are tested on: objects, faces, and labelled parts that share no picture."""

from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import LongTensor, Tensor

from lib.book.run import Run
from lib.data.pairs import without_people
from lib.data.sets import ImageSet
from lib.errors import WorkbookError
from lib.studies.pages import for_page
from lib.training.labelled import Labelled, coloured, drawn, expression_parts, labelled
from lib.training.people import images_by_person


@dataclass(frozen=True, eq=False)
class Faces:
    """Faces to pre-train on, images (n, 3, side, side) uint8, and what probes are fitted and tested on.

    colour: those of `images` that are not FER2013's, which are gray. identity: people who are not among `images`;
    expression: FER2013's own parts.
    """

    images: Tensor
    colour: Tensor
    identity: Labelled
    expression: Labelled


def objects_for(run: Run, scale: SimpleNamespace) -> Labelled:
    """CIFAR-10; "learn" and "held" are cut from its training part. At smoke its embedded stand-in."""
    images = for_page(run, "cifar10")
    if not {"train", "test"} <= set(images.splits):
        raise WorkbookError(f"'{images.name}' has no parts train and test: take cifar10 or another set of objects.")
    mixed = drawn(images.splits["train"], len(images.splits["train"]))
    parts = {"held": mixed[: scale.held], "learn": mixed[scale.held : scale.held + scale.learn]}
    parts["test"] = drawn(images.splits["test"], scale.test)
    return labelled(images, parts, images.labels, scale.side)


def faces_for(run: Run, scale: SimpleNamespace) -> Faces:
    """CelebA's, LFW's and FER2013's faces; LFW's people who stand in no test pair, and CelebA's whom no probe names.

    At smoke, and on one's own data, one set serves for all.
    """
    celeba = for_page(run, "celeba_sub")
    people = probed_people(celeba.labels, scale.people)
    identity = identity_parts(celeba, people, scale.side)
    rest = (~torch.isin(celeba.labels, people)).nonzero().flatten()
    fer = for_page(run, "fer2013")
    most = {"learn": scale.expressions, "held": scale.held, "test": scale.test}
    expression = expression_parts(fer, most, scale.side)
    pixels = [coloured(celeba, drawn(rest, scale.faces), scale.side)]
    gray = []
    if not run.smoke and run.data == "auto":
        lfw = for_page(run, "lfw")
        alone = without_people(lfw, *lfw.pairs.values())
        pixels.append(coloured(lfw, drawn(alone, scale.faces - len(pixels[0])), scale.side))
        missing = max(0, scale.faces - sum(len(part) for part in pixels))
        gray.append(coloured(fer, drawn(fer.splits["train"], missing), scale.side))
    return Faces(torch.cat(pixels + gray), torch.cat(pixels), identity, expression)


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
