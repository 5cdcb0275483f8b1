"""Do corruptions resemble adversarial noise? Picture by picture, three changes of one size: L2 over all pixels."""

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks import L2, PGD_L2, Settings, ascend, cross_entropy
from lib.studies.robust_ssl.corrupted_accuracy import Group, Rights, Shown, measured, named
from lib.studies.robust_ssl.corruption_tables import Errors
from lib.studies.robust_ssl.study import SSLStudy
from lib.transforms.corruptions import COMMON, corrupt

CHANGES = ("corruption", "Gaussian noise", "adversarial noise")
COMPARED = ("SimCLR", "BYOL", "Barlow Twins")  # a family of each of the slides' three kinds
MIDDLE = 3
ROUNDS = 10  # that a noise is brought back to its size after the clamp to [0,1] shortened it


def attack_of(steps: int) -> Settings:
    """PGD of so many L2 steps, from the picture itself."""
    return PGD_L2.but(steps=steps, step=f"2.5*eps/{steps}", start="clean")


def sizes_of(delta: Tensor) -> Tensor:
    """L2 size (n, 1, 1, 1) of each change (n, C, H, W)."""
    return torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)


def with_noise(x: Tensor, size: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, C, H, W) in [0,1] with Gaussian noise of that size (n, 1, 1, 1), as far as [0,1] has room for it."""
    delta = torch.randn(x.shape, generator=generator).to(x)
    for _ in range(ROUNDS):
        delta = (x + delta * size / sizes_of(delta).clamp_min(1e-9)).clamp(0, 1) - x
    return x + delta


def named_alike(group: Group, images: Tensor, labels: LongTensor, name: str, device: str, steps: int) -> Tensor:
    """Whether each model names each image rightly under each of `CHANGES`, (models, 3, m) bool; images uint8.

    The corruption at the severity `MIDDLE` gives each picture's size; the noise is the same for all models, the attack
    of so many steps is each model's own.
    """
    return torch.stack([changed(model, images, labels, name, device, steps) for model in group.models])


def changed(model: nn.Module, images: Tensor, labels: LongTensor, name: str, device: str, steps: int) -> Tensor:
    """`named` of one model under each of `CHANGES`, (3, m)."""
    x = images.float() / 255
    seen = corrupt(x, name, MIDDLE, torch.Generator().manual_seed(MIDDLE))
    size = sizes_of(seen - x)
    noisy = with_noise(x, size, torch.Generator().manual_seed(0))
    objective = cross_entropy(model, labels.to(device))
    adversarial = ascend(objective, x.to(device), L2(size.flatten().to(device)), attack_of(steps)).cpu()
    return torch.cat([named([model], part, labels, device) for part in (seen, noisy, adversarial)])


def alike_rights(study: SSLStudy, group: Group, shown: Shown, steps: int) -> Rights:
    """The networks under the fifteen corruptions, and under noises of their size; the attack takes so many steps."""
    return measured(study, group, shown, named_alike, (COMMON, tuple(range(len(CHANGES)))), steps)


def likeness(errors: Errors) -> Tensor:
    """How far each corruption lies from Gaussian noise (0) to adversarial noise (1) of its size, (1 + B, C).

    By the mean error of the networks, whose strengths are `CHANGES`. No value where the two noises cost the same.
    """
    corruption, gaussian, adversarial = errors.under.mean(1).unbind(2)
    room = adversarial - gaussian
    return torch.where(room > 0, (corruption - gaussian) / room, torch.nan)


def typical_likeness(errors: Errors) -> Tensor:
    """The median of `likeness` over the corruptions, (1 + B,)."""
    return likeness(errors).nanquantile(0.5, dim=1)


def left_to_find(group: Group, shown: Shown, device: str, steps: tuple[int, int]) -> float:
    """Points of accuracy that the longer attack takes more, of the first model, at the smallest corruption."""
    images, labels = shown
    x = images.float() / 255
    sizes = {name: sizes_of(corrupt(x, name, MIDDLE, torch.Generator().manual_seed(MIDDLE)) - x) for name in COMMON}
    least = min(sizes, key=lambda name: sizes[name].mean().item())
    short, longer = (changed(group.models[0], images, labels, least, device, count)[2] for count in steps)
    return 100 * (short.double().mean() - longer.double().mean()).item()
