"""Trains the small recogniser on procedural faces, in seconds, with no data and no network."""

import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.procedural_faces.dataset import load_procedural
from lib.data.sets import ImageSet
from lib.errors import WorkbookError
from lib.losses.margins import cosine_margin_loss
from lib.models.small import SmallRecogniser
from lib.progress import progress as shown
from lib.seeds import seeded

PRACTICE_SEED = 1_000_003  # the default set's persons have seed 0, and a person depends on the seed and number alone
BATCH = 64
PEAK_RATE = 6e-3
WEIGHT_DECAY = 5e-4
STEPS = 200  # EER 7.7 % on 600 pairs of strangers in 26 s on one core; 300 on twice the pictures: 6.0 % in 46 s
SCALE = 16.0
MARGIN = 0.2
MARGIN_WEIGHT = 0.2
FACTOR_WEIGHT = 30.0


@functools.cache
def practice_faces() -> ImageSet:
    """What the small recogniser learns from: 800 persons, two pictures each, of a seed that no page tests on."""
    return load_procedural(people=1000, per_person=2, seed=PRACTICE_SEED)


def train_small_recogniser(
    faces: ImageSet, *, steps: int = STEPS, seed: int = 0, device: str | torch.device = "cpu", progress: bool = False
) -> SmallRecogniser:
    """A SmallRecogniser trained on the people of `faces.splits["train"]` (all, when there is no such split).

    Batches of 64 at a one-cycle rate. Same seed, same machine: same weights. Returned in eval mode on `device`.
    Raises WorkbookError for fewer than one step, pictures that are not 112x112 in colour, or fewer than two people.
    """
    if steps < 1:
        raise WorkbookError(f"Expected at least one training step, got {steps}; {STEPS} suffice.")
    with seeded(seed):
        model = SmallRecogniser().to(device=device, memory_format=torch.channels_last)
    losses = training_losses(model, faces, steps, seed)
    for _ in shown(losses, "training the small recogniser", steps) if progress else losses:
        pass
    return model.eval()


def training_losses(model: SmallRecogniser, faces: ImageSet, steps: int, seed: int) -> Iterator[float]:
    """Train `model` in place; the loss of each step as it is made."""
    pictures, labels, factors = (part.to(model.mean.device) for part in _material(faces, model))
    dim = model.embedding[-1].out_features
    start = torch.randn(int(labels.max()) + 1, dim, generator=torch.Generator().manual_seed(seed))
    prototypes = nn.Parameter(0.1 * start.to(labels.device))
    optimiser = torch.optim.AdamW([*model.parameters(), prototypes], lr=PEAK_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=steps + 1, pct_start=0.2)
    model.train()
    for index in _batches(len(pictures), steps, seed):
        x = pictures[index].float().div_(255).contiguous(memory_format=torch.channels_last)
        raw = model(x)
        margin = cosine_margin_loss(raw, prototypes, labels[index], SCALE, MARGIN)
        # A procedural face knows its exact factors. Asking the first coordinates for them is what lets a few thousand
        # pictures teach features that carry over to strangers; a softmax over people alone learns them by heart.
        known = F.mse_loss(raw[:, : factors.shape[1]], factors[index]) if factors.numel() else 0.0
        loss = MARGIN_WEIGHT * margin + FACTOR_WEIGHT * known
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        yield loss.item()


def _material(faces: ImageSet, model: SmallRecogniser) -> tuple[Tensor, Tensor, Tensor]:
    """Training pictures uint8 (n, 3, 112, 112), labels (n,) from 0, and known identity factors (n, k), k may be 0."""
    index = faces.splits.get("train", torch.arange(len(faces)))
    labels = faces.labels[index].unique(return_inverse=True)[1]
    if labels.max() < 1:
        raise WorkbookError(f"Training a recogniser needs at least two people; '{faces.name}' has one: add more.")
    pictures = _pictures(faces)
    model.check(pictures)
    known = [faces.attributes[name][index] for name in ("identity", "skin") if name in faces.attributes]
    return pictures, labels, torch.cat(known, dim=1) if known else torch.empty(len(index), 0)


@functools.lru_cache(maxsize=1)  # a second recogniser learns from the same pictures: drawing takes as long as training
def _pictures(faces: ImageSet) -> Tensor:
    """Training pictures uint8 (n, C, H, W) of a set."""
    return faces.read(faces.splits.get("train", torch.arange(len(faces))).tolist())


def _batches(n: int, steps: int, seed: int) -> Iterator[Tensor]:
    """`steps` batches of positions, epoch after epoch in a fresh order; a rest smaller than a batch is left out."""
    generator = torch.Generator().manual_seed(seed)
    batch = min(BATCH, n)
    while steps > 0:
        order = torch.randperm(n, generator=generator)
        whole = order[: n - n % batch].split(batch)[:steps]
        yield from whole
        steps -= len(whole)
