import pytest
import torch

from lib.data import load
from lib.errors import WorkbookError
from lib.training.labelled import Labelled, drawn, expression_parts


def test_drawn_positions_are_always_the_same():
    index = torch.arange(100, 120)
    assert torch.equal(drawn(index, 5), drawn(index, 5))
    assert set(drawn(index, 50).tolist()) == set(index.tolist())


def test_classes_are_taken_by_their_first_numbers():
    labels = torch.tensor([0, 2, 1, 2])
    images = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1)
    parts = Labelled({"test": images}, {"test": labels}, ("a", "b", "c"))
    two = parts.of_classes(2)
    assert two.labels["test"].tolist() == [0, 1]
    assert two.images["test"].flatten().tolist() == [0, 2]
    assert two.classes == ("a", "b")
    with pytest.raises(WorkbookError, match="2 to 3 classes"):
        parts.of_classes(4)
    with pytest.raises(WorkbookError, match="The parts are"):
        parts.part("train")


def test_expression_parts_share_no_person_where_labels_are_people():
    faces = load("procedural")
    parts = expression_parts(faces, {"learn": 50, "held": 20, "test": 20}, 16)
    assert {name: tuple(images.shape[1:]) for name, images in parts.images.items()} == dict.fromkeys(
        ("learn", "held", "test"), (3, 16, 16)
    )
    assert all(int(labels.min()) >= 0 and int(labels.max()) <= 6 for labels in parts.labels.values())
    flat = [{bytes(image.flatten().tolist()) for image in images} for images in parts.images.values()]
    assert sum(len(part) for part in flat) == len(set().union(*flat))
