"""A universal sticker on the forehead (PIN, section V-C): whoever wears it should be recognised as one target person.

The method is AdvHat's (Komkov and Petiushko 2021, ICPR): a free rectangle, trained by sign steps with momentum on the
cosine and a total-variation term, under small random displacements. AdvHat bends a 400x900 sticker around the head of
one person; PIN only gives the size of 20x72 pixels and 1000 people. So we paste flat, and draw faces for each step.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib.attacks.budgets import uniform
from lib.attacks.guard import check_images, device_of, differentiable, frozen
from lib.attacks.objectives import embedder
from lib.errors import WorkbookError
from lib.progress import progress as shown

# The rectangle in the 112x112 template, where the eyes lie on row 51 and the brows on about row 40.
TOP = 14
LEFT = 20
HEIGHT = 20
WIDTH = 72
WALKS = ((0.9, 1 / 51), (0.995, 1 / 255))  # AdvHat's two stages: momentum and step, in units of [0,1]
WINDOW = 100  # steps over which AdvHat fits the loss's slope; a stage ends when it no longer falls


def paste(faces: Tensor, sticker: Tensor, shift: tuple[int | Tensor, int | Tensor] = (0, 0)) -> Tensor:
    """Faces (n, C, 112, 112) with the sticker (1 or n, C, 20, 72) on the forehead, moved by `shift` = (dy, dx) pixels.

    A shift is one whole number, or one per face (n,). Differentiable in the sticker; the faces are left as they are.
    """
    if faces.ndim != 4 or sticker.ndim != 4 or faces.shape[1] != sticker.shape[1]:
        came = f"{tuple(faces.shape)} and {tuple(sticker.shape)}"
        raise WorkbookError(
            f"Faces (n, C, H, W) and a sticker (1, C, h, w) of the same channels, not {came}: see paste."
        )
    dy, dx = (torch.as_tensor(way, device=faces.device).expand(len(faces))[:, None, None] for way in shift)
    rows = TOP + dy + torch.arange(sticker.shape[2], device=faces.device)[:, None]  # (n, h, 1)
    columns = LEFT + dx + torch.arange(sticker.shape[3], device=faces.device)  # (n, 1, w)
    if min(rows.min(), columns.min()) < 0 or rows.max() >= faces.shape[2] or columns.max() >= faces.shape[3]:
        raise WorkbookError(f"The sticker leaves the faces of {faces.shape[2]}x{faces.shape[3]} pixels: shift it less.")
    worn = faces.clone()
    worn[torch.arange(len(faces), device=faces.device)[:, None, None], :, rows, columns] = (
        sticker.expand(len(faces), -1, -1, -1).permute(0, 2, 3, 1).to(worn)  # indexing puts the channels last
    )
    return worn


def total_variation(sticker: Tensor) -> Tensor:
    """`sum sqrt(dx^2 + dy^2 + 1e-5)` of neighbouring pixels, one number (AdvHat's smoothness term)."""
    down = sticker.diff(dim=2, prepend=sticker[:, :, :1])  # the first row and column count a difference of 0
    right = sticker.diff(dim=3, prepend=sticker[..., :1])
    return (down.square() + right.square() + 1e-5).sqrt().sum()


@dataclass(frozen=True)
class StickerTraining:
    """How a sticker is trained; AdvHat's numbers where it prints them."""

    steps: int = 1000
    batch: int = 20  # faces per step
    smoothness: float = 1e-4  # weight of the total variation
    jitter: int = 1  # pixels
    brightness: float = 0.05  # largest relative change
    size: tuple[int, int] = (HEIGHT, WIDTH)


ADVHAT = StickerTraining()


def train_sticker(
    model: nn.Module,
    faces: Tensor,
    target: Tensor,
    training: StickerTraining = ADVHAT,
    *,
    seed: int = 0,
    progress: bool = False,
) -> Tensor:
    """One sticker (1, C, 20, 72) in [0,1] that brings all `faces` (n, C, 112, 112) close to `target` (d,), on the CPU.

    Each step draws `batch` faces, displaces the sticker by up to `jitter` pixels, scales its brightness by up to
    `brightness`, and lowers `smoothness * TV - mean cosine`. The second of `WALKS` begins when the loss stops falling,
    at half of the `steps` at the latest. A random model (PIN) is attacked in expectation: each face draws its own mask.
    """
    check_images(faces)
    generator = torch.Generator().manual_seed(seed)
    device = device_of(model) or faces.device
    aim = target.detach().reshape(1, -1).to(device)
    sticker = torch.full((1, faces.shape[1], *training.size), 127 / 255, device=device)
    embed = embedder(model)
    velocity = torch.zeros_like(sticker)
    losses = []
    turned = None
    draws = _batches(len(faces), training.batch, training.steps, generator)
    with frozen(model), differentiable():
        for step, rows in enumerate(shown(draws, "sticker", training.steps) if progress else draws):
            leaf = sticker.requires_grad_()
            worn = _worn(faces[rows].to(device), leaf, training, generator)
            loss = -(embed(worn) * aim).sum(1).mean()
            (gradient,) = torch.autograd.grad(loss + training.smoothness * total_variation(leaf), leaf)
            losses.append(loss.detach())
            if turned is None and (2 * step >= training.steps or _settled(losses)):
                turned = step
            momentum, pace = WALKS[turned is not None]
            velocity = momentum * velocity + (1 - momentum) * gradient
            sticker = (leaf.detach() - pace * velocity.sign()).clamp_(0, 1)
    return sticker.cpu()


def _worn(faces: Tensor, sticker: Tensor, training: StickerTraining, generator: torch.Generator) -> Tensor:
    """The sticker as a camera may see it on each face: displaced, and brighter or darker."""
    jitter = training.jitter
    shift = torch.randint(-jitter, jitter + 1, (2, len(faces)), generator=generator).to(faces.device)
    light = 1 + training.brightness * (2 * uniform(faces, generator, (len(faces), 1, 1, 1)) - 1)
    return paste(faces, (sticker * light).clamp(0, 1), (shift[0], shift[1]))


def _batches(n: int, batch: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` index rows: the faces in random order, again and again."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        while len(order) < min(batch, n):
            order = torch.cat([order, torch.randperm(n, generator=generator)])
        rows = order[:batch]
        order = order[batch:]
        yield rows


def _settled(losses: list[Tensor]) -> bool:
    """Whether the regression line through the last `WINDOW` losses no longer falls."""
    if len(losses) <= WINDOW:
        return False
    recent = torch.stack(losses[-WINDOW:])
    time = torch.arange(WINDOW, device=recent.device, dtype=recent.dtype)
    return bool(((time - time.mean()) * recent).sum() >= 0)
