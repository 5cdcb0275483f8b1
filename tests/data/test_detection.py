import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import detection
from lib.data.detection import anchors, decode_boxes, decode_points, find_faces, load_detector
from lib.errors import WorkbookError


def test_anchors_against_loops():
    """The published order: level, row, column, side; centres lie in the middle of a stride."""
    expected = []
    for stride, sides in zip((8, 16, 32), ((16, 32), (64, 128), (256, 512)), strict=True):
        for row in range(-(-70 // stride)):
            for column in range(-(-100 // stride)):
                expected += [((column + 0.5) * stride, (row + 0.5) * stride, side) for side in sides]
    assert torch.equal(anchors(70, 100), torch.tensor(expected))


def test_the_network_has_an_output_for_each_anchor():
    logits, boxes, points = load_detector()(torch.zeros(2, 3, 70, 101))
    n = len(anchors(70, 101))
    assert (logits.shape, boxes.shape, points.shape) == ((2, n, 2), (2, n, 4), (2, n, 10))


def test_decoding_by_hand():
    places = torch.tensor([[20.0, 40.0, 16.0]])
    boxes = decode_boxes(torch.tensor([[1.0, -1.0, 0.0, 5 * np.log(2)]], dtype=torch.float), places)
    assert torch.allclose(boxes, torch.tensor([[21.6 - 8, 38.4 - 16, 21.6 + 8, 38.4 + 16]]), atol=1e-4)
    points = decode_points(torch.arange(10.0)[None], places)
    assert torch.allclose(points[0, 1], torch.tensor([20 + 0.1 * 2 * 16, 40 + 0.1 * 3 * 16]))


class Planted(torch.nn.Module):
    """A detector that sees one face twice, with the same box, at the given anchors of a picture."""

    def __init__(self, at, seen_from=0):
        super().__init__()
        self.at, self.most, self.sizes = at, seen_from, []

    def forward(self, x):
        n = len(anchors(*x.shape[2:]))
        self.sizes.append(tuple(x.shape[2:]))
        logits = torch.tensor([5.0, -5.0]).repeat(1, n, 1)
        if not self.most or max(x.shape[2:]) <= self.most:
            for rank, place in enumerate(self.at):
                logits[0, place] = torch.tensor([-3.0, 3.0 - rank])
        return logits, torch.zeros(1, n, 4), torch.zeros(1, n, 10)


def test_overlapping_boxes_are_one_face_and_coordinates_are_those_of_the_picture():
    """Two columns apart at side 32 the boxes share 6/10 of their union's pixels; the better one stays."""
    model = Planted([1, 3])
    faces = find_faces(Image.new("RGB", (1280, 800)), model)
    assert model.sizes == [(400, 640)]
    assert len(faces.scores) == 1
    assert np.allclose(faces.boxes, [[2 * (4 - 16), 2 * (4 - 16), 2 * (4 + 16), 2 * (4 + 16)]])
    assert np.allclose(faces.points, 8)


def test_a_face_that_fills_the_picture_is_looked_for_again_when_small():
    model = Planted([0], seen_from=320)
    assert len(find_faces(Image.new("RGB", (640, 640)), model).scores) == 1
    assert model.sizes == [(640, 640), (320, 320)]
    nothing = find_faces(Image.new("RGB", (640, 640)), Planted([]))
    assert (nothing.boxes.shape, nothing.points.shape, nothing.scores.shape) == ((0, 4), (0, 5, 2), (0,))


def test_other_weights_are_refused(monkeypatch):
    load_detector.cache_clear()
    monkeypatch.setattr(detection, "SHA256", "0" * 64)
    with pytest.raises(WorkbookError, match="differ from those of facesdk"):
        load_detector()
    monkeypatch.setattr(detection, "package_file", lambda *where: None)
    with pytest.raises(WorkbookError, match="pip install facesdk"):
        load_detector()
