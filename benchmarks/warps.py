"""Corruptions and conformal views on batches against one picture at a time, and one interpolation against two."""

import importlib

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import functional as vision

from benchmarks.timing import measure, report, smooth_images
from lib.transforms.augmentations import resized_crop
from lib.transforms.conformal import Moebius, crop_plane, plane, warp
from lib.transforms.corruptions import COMMON, EXTRA, corrupt

BATCH, SIDE, SEVERITY = 64, 64, 3
THEIRS = {
    "shot": "shot_noise",
    "impulse": "impulse_noise",
    "speckle": "speckle_noise",
    "defocus": "defocus_blur",
    "glass": "glass_blur",
    "motion": "motion_blur",
    "zoom": "zoom_blur",
    "elastic": "elastic_transform",
    "jpeg": "jpeg_compression",
}


def generator() -> torch.Generator:
    """Every call draws the same numbers."""
    return torch.Generator().manual_seed(0)


def our_corruptions(images: Tensor) -> None:
    """All nineteen, on the batch."""
    for name in COMMON + EXTRA:
        corrupt(images, name, SEVERITY, generator(), side=224)


def corruption_ratio(rounds: int, device: str) -> list[bool]:
    """Nineteen corruptions of a batch against imagecorruptions-imaug, where it is installed (extra `test`)."""
    try:
        package = importlib.import_module("imagecorruptions")
    except ImportError:
        print("Corruptions: imagecorruptions-imaug is not installed (pip install '.[test]'); nothing to compare with.")
        return []
    images = smooth_images(BATCH, (SIDE, SIDE), device)
    pictures = list((images * 255).byte().permute(0, 2, 3, 1).cpu().numpy())

    def theirs() -> None:
        for name in COMMON + EXTRA:
            for picture in pictures:
                package.corrupt(np.ascontiguousarray(picture), SEVERITY, THEIRS.get(name, name))

    our_corruptions(images)
    theirs()  # the warm-up: frost grows, numba compiles
    times = measure({"ours": lambda: our_corruptions(images), "theirs": theirs}, rounds, device)
    title = f"19 corruptions of {BATCH} pictures of {SIDE}x{SIDE} / imagecorruptions-imaug"
    return [report(title, times["ours"], times["theirs"], "at most 1", lambda ratio: ratio <= 1)]


def view_ratios(rounds: int, device: str) -> list[bool]:
    """Map, crop and mirror in one grid against two interpolations (time, then blur), and against torchvision's."""
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=generator()).to(device)
    box = torch.tensor([[0.2, 0.2, 0.6, 0.6]], device=device).expand(BATCH, -1)
    flip = (torch.arange(BATCH, device=device) % 2).bool()
    moebius = Moebius(0.2 * torch.ones(BATCH, dtype=torch.complex64, device=device))
    corners = [[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]]
    moved = [[3, 2], [SIDE - 4, 0], [SIDE - 1, SIDE - 5], [0, SIDE - 2]]

    def once() -> Tensor:
        return warp(images, moebius(crop_plane(box, flip, SIDE, SIDE)))

    def twice() -> Tensor:
        return resized_crop(warp(images, moebius(plane(SIDE, SIDE, device))), box, flip)

    def mapped() -> Tensor:
        return warp(images, moebius(plane(SIDE, SIDE, device)))

    def perspective() -> None:
        for image in images:
            vision.perspective(image, corners, moved)

    works = {"once": once, "twice": twice, "map": mapped, "perspective": perspective}
    for work in works.values():
        work()
    times = measure(works, rounds, device)
    title = f"Moebius, crop and mirror of {BATCH} pictures in one grid / in two"
    verdicts = [report(title, times["once"], times["twice"], "at most 0.8", lambda ratio: ratio <= 0.8)]
    kept = once().std().item() / twice().std().item()
    passed = kept >= 1.05
    print(f"Contrast of white noise after one interpolation / two: {kept:.3f}  target at least 1.05: {_word(passed)}")
    title = f"Moebius maps of {BATCH} pictures, each its own / torchvision's perspective one by one"
    verdicts.append(report(title, times["map"], times["perspective"], "at most 0.5", lambda ratio: ratio <= 0.5))
    return [*verdicts, passed]


def _word(passed: bool) -> str:
    return "pass" if passed else "FAIL"


def warp_ratios(rounds: int, device: str) -> list[bool]:
    """All ratios of this file."""
    return corruption_ratio(min(rounds, 3), device) + view_ratios(rounds, device)
