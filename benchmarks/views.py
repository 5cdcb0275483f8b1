"""Random views of images: ours against kornia's, which draws per image too."""

import torch
from kornia import augmentation
from torch import nn

from benchmarks.timing import measure, report, smooth_images
from lib.transforms.views import Views

OURS = Views()


def their_views(side: int) -> nn.Module:
    """kornia's augmentations with the settings of `Views`; the blur spans a tenth of the picture."""
    size = 2 * round(side / 20) + 1
    return nn.Sequential(
        augmentation.RandomResizedCrop((side, side), OURS.crop, OURS.ratio),
        augmentation.RandomHorizontalFlip(OURS.flip),
        augmentation.ColorJitter(*OURS.jitter, p=OURS.jitter_p),
        augmentation.RandomGrayscale(p=OURS.gray),
        augmentation.RandomGaussianBlur((size, size), OURS.sigma, p=OURS.blur),
    )


def view_ratios(rounds: int, device: str) -> list[bool]:
    """A view of each of 128 images, of CIFAR's size and of a face's."""
    verdicts, generator = [], torch.Generator().manual_seed(0)
    for side in (32, 112):
        images, theirs = smooth_images(128, (side, side), device), their_views(side).to(device)
        works = {"ours": lambda x=images: OURS(x, generator), "theirs": lambda x=images, views=theirs: views(x)}
        for work in works.values():
            work()  # warm-up
        times, title = measure(works, rounds, device), f"Views of 128 images {side}x{side} / kornia's"
        verdicts.append(report(title, times["ours"], times["theirs"], "below 1", lambda ratio: ratio < 1))
    return verdicts
