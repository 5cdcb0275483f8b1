"""The lattice is drawn where the new picture shows the old one."""

import pytest
import torch
from matplotlib import pyplot as plt

from lib.book import plots
from lib.studies.robust_ssl.conformal_pictures import CIRCLES, LINES, draw_box, draw_lattice, seen_at
from lib.transforms.conformal import Moebius

C = torch.tensor([0.3 + 0j], dtype=torch.complex128)


@pytest.fixture
def axis():
    figure, axis = plt.subplots()
    yield axis
    plt.close(figure)


def test_points_are_seen_by_the_inverse_map():
    points = torch.tensor([0.5 + 0.2j, -1 + 1j], dtype=torch.complex128)
    assert torch.allclose(seen_at(Moebius(C), points), points / (1 - C * points))


def test_a_lattice_has_lines_circles_and_a_frame(axis):
    draw_lattice(axis, Moebius(C), "title")
    assert len(axis.lines) == 2 * LINES + len(CIRCLES) ** 2 + 1
    assert "title" in (axis.get_title(), axis.get_title("left"))
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # y goes down, as in a picture
    rightmost = max(line.get_xdata().max() for line in axis.lines[:-1])
    leftmost = min(line.get_xdata().min() for line in axis.lines[:-1])
    assert rightmost > 1.3 > -leftmost  # c = 0.3 enlarges the right


def test_a_box_is_closed(axis):
    draw_box(axis, torch.tensor([1.0, 2.0, 5.0, 9.0]), plots.BLUE, "--")
    (line,) = axis.lines
    assert list(line.get_xdata()) == [1, 5, 5, 1, 1]
    assert list(line.get_ydata()) == [2, 2, 9, 9, 2]
