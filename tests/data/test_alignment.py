import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.alignment import TEMPLATE, similarity, warp
from lib.data.registration import register
from lib.errors import WorkbookError


def apply(matrix, points):
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.parametrize(("angle", "scale", "shift"), [(0, 1, (0, 0)), (0.3, 2.5, (10, -7)), (-2, 0.4, (3, 90))])
def test_similarity_recovers_a_known_one(angle, scale, shift):
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    matrix = np.array([[a, -b, shift[0]], [b, a, shift[1]]])
    assert np.allclose(similarity(TEMPLATE, apply(matrix, TEMPLATE)), matrix)


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(0)
    points = TEMPLATE * 3 + rng.normal(0, 5, TEMPLATE.shape)
    rows = [row for x, y in points for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, tx, ty = np.linalg.lstsq(np.array(rows), TEMPLATE.flatten(), rcond=None)[0]
    assert np.allclose(similarity(points, TEMPLATE), [[a, -b, tx], [b, a, ty]])


def test_similarity_refuses_unequal_points():
    with pytest.raises(WorkbookError, match="two"):
        similarity(TEMPLATE, TEMPLATE[:4])


@pytest.mark.parametrize("scale", [0.25, 1.0, 1.7])
def test_warp_brings_points_to_their_target(scale):
    """A bright dot at each source point must be brightest at its target."""
    points = TEMPLATE / scale + 20
    matrix = similarity(points, TEMPLATE)
    side = int(points.max()) + 40
    y, x = np.mgrid[:side, :side] + 0.5
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (1.5 / scale) ** 2)) for px, py in points)
    seen = np.asarray(warp(Image.fromarray((spots * 255).clip(0, 255).astype(np.uint8)), matrix, 112), float)
    for px, py in TEMPLATE:
        part = seen[int(py) - 4 : int(py) + 6, int(px) - 4 : int(px) + 6]
        gy, gx = np.mgrid[int(py) - 4 : int(py) + 6, int(px) - 4 : int(px) + 6] + 0.5
        assert abs((part * gx).sum() / part.sum() - px) < 0.35
        assert abs((part * gy).sum() / part.sum() - py) < 0.35


def test_warp_does_not_alias():
    checks = np.indices((448, 448)).sum(0) % 2 * 255
    out = np.asarray(warp(Image.fromarray(checks.astype(np.uint8)), np.array([[0.25, 0, 0], [0, 0.25, 0]]), 112), float)
    assert abs(out[2:-2, 2:-2] - 127.5).max() < 3


def test_register_finds_a_known_move():
    """A smooth random picture moved by a known similarity is found again to a third of a pixel."""
    torch.manual_seed(0)
    noise = torch.nn.functional.interpolate(torch.rand(1, 1, 24, 24), 160, mode="bicubic")
    angle, scale, shift = 0.05, 1.03, np.array([6.0, -9.0])
    a, b, c = scale * np.cos(angle), scale * np.sin(angle), np.array([80.0, 80.0])
    move = np.array([[a, -b, 0], [b, a, 0]])
    move[:, 2] = c + shift - move[:, :2] @ c
    image = Image.fromarray((noise[0, 0].clamp(0, 1) * 255).byte().numpy())
    moved = torch.from_numpy(np.asarray(warp(image, move, 160)).copy())[None, None].float() / 255
    found = register(noise.clamp(0, 1), moved, (54, 104, 44, 116))[0]
    corners = np.array([[44, 54], [116, 54], [44, 104], [116, 104.0]])
    assert np.abs(apply(found, corners) - apply(move, corners)).max() < 0.5
