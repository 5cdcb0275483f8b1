"""Which test pictures the probes of frozen encoders name rightly, corrupted and distorted; all see the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import LongTensor, Tensor, nn

from lib.cache import digest
from lib.errors import WorkbookError, choices
from lib.models.base import evaluating
from lib.studies.robust_ssl.families import METHODS
from lib.studies.robust_ssl.probes import LinearProbe
from lib.studies.robust_ssl.study import SSLStudy
from lib.transforms.corruptions import COMMON, EXTRA, corrupt
from lib.transforms.distortions import SUBSETS, SWEEP, distort

NETWORKS = (*METHODS, "supervised", "untrained")
SEVERITIES = (1, 2, 3, 4, 5)
BATCH = 250
Shown = tuple[Tensor, LongTensor]  # pictures (m or more, 3, S, S) uint8 and labels (m,)


@dataclass(frozen=True, eq=False)
class Rights:
    """Whether each of `networks` names each of m test pictures rightly, bool.

    clean (networks, seeds, m); under (networks, seeds, conditions, strengths, m): conditions are corruptions with
    severities for strengths, or subsets of ImageNet-PD with the sizes of c.
    """

    networks: tuple[str, ...]
    conditions: tuple[str, ...]
    strengths: tuple[float, ...]
    clean: Tensor
    under: Tensor

    def __post_init__(self) -> None:
        """Refuse tables whose axes do not fit."""
        networks, seeds, m = self.clean.shape
        wanted = (len(self.networks), seeds, len(self.conditions), len(self.strengths), m)
        if tuple(self.under.shape) != wanted or networks != len(self.networks):
            raise WorkbookError(
                f"Pictures named rightly come as (networks, seeds, conditions, strengths, m) = {wanted}, not "
                f"{tuple(self.under.shape)}: measure every network under every condition."
            )

    def of(self, *networks: str) -> "Rights":
        """Those of some networks alone, in the order named."""
        rows = places(networks, self.networks)
        return replace(self, networks=networks, clean=self.clean[rows], under=self.under[rows])

    def only(self, *conditions: str) -> "Rights":
        """Under some conditions alone, in the order named."""
        return replace(self, conditions=conditions, under=self.under[:, :, places(conditions, self.conditions)])

    def first(self, m: int) -> "Rights":
        """Of the first m pictures alone."""
        return replace(self, clean=self.clean[..., :m], under=self.under[..., :m])


def places(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """Where each of the names stands among the known ones."""
    for name in names:
        if name not in known:
            raise WorkbookError(f"There is no '{name}' in this table; there are {choices(list(known))}.")
    return [known.index(name) for name in names]


@dataclass(frozen=True, eq=False)
class Group:
    """Classifiers of images in [0,1] that are shown the same pictures, network by network, each with all its seeds.

    `fingerprint` keys them, made once for all.
    """

    models: tuple[nn.Module, ...]
    networks: tuple[str, ...]
    fingerprint: str = field(init=False)

    def __post_init__(self) -> None:
        """Hash weights and code of all models."""
        object.__setattr__(self, "fingerprint", digest(list(self.models)))

    @property
    def shape(self) -> tuple[int, int]:
        """Networks and seeds."""
        return len(self.networks), len(self.models) // len(self.networks)


class Unnormalised(nn.Module):
    """A probe whose trunk meets the pixels as they are, without the normalisation it was trained behind."""

    def __init__(self, probe: LinearProbe):
        super().__init__()
        self.probe = probe

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of images (n, 3, H, W) in [0,1]."""
        return self.probe.of_features(self.probe.encoder.trunk(x))


def group_of(study: SSLStudy, networks: Sequence[str] = NETWORKS) -> Group:
    """The probes of some networks, each with all its seeds."""
    models = tuple(study.probe(study.encoder(name, seed)) for name in networks for seed in study.scale.seeds)
    return Group(models, tuple(networks))


def unnormalised_group(study: SSLStudy, networks: Sequence[str] = METHODS) -> Group:
    """The same probes, shown pixels that nobody normalised."""
    group = group_of(study, networks)
    return Group(tuple(Unnormalised(model) for model in group.models), group.networks)


@torch.no_grad()
def named(models: Sequence[nn.Module], images: Tensor, labels: LongTensor, device: str = "cpu") -> Tensor:
    """Whether each model names each image (m, 3, H, W) in [0,1] rightly, (models, m) bool."""
    found = []
    with evaluating(*models):
        for x, wanted in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            pixels = x.to(device)
            found.append(torch.stack([model(pixels).argmax(1).cpu() == wanted for model in models]))
    return torch.cat(found, 1)


def named_each(models: Sequence[nn.Module], parts: list[Tensor], labels: LongTensor, device: str) -> Tensor:
    """`named` of several versions of the same pictures, (models, versions, m): of the first m, that have labels."""
    found = named(models, torch.cat([part[: len(labels)] for part in parts]), labels.repeat(len(parts)), device)
    return found.unflatten(1, (len(parts), len(labels)))


def named_corrupted(group: Group, images: Tensor, labels: LongTensor, name: str, device: str) -> Tensor:
    """`named` under one corruption at each severity, (models, 5, m); images (m or more, 3, S, S) uint8.

    All images are corrupted, so that a picture gets the same draws whoever sees it; those with labels (m,) are named.
    """
    x = images.float() / 255
    parts = [corrupt(x, name, severity, torch.Generator().manual_seed(severity)) for severity in SEVERITIES]
    return named_each(group.models, parts, labels, device)


def named_distorted(group: Group, images: Tensor, labels: LongTensor, subset: str, device: str) -> Tensor:
    """`named` under one subset of ImageNet-PD for each |c| of `SWEEP`, (models, 5, m); images (m, 3, S, S) uint8."""
    x = images.float() / 255
    return named_each(group.models, [distort(x, *SUBSETS[subset], size) for size in SWEEP], labels, device)


def tested(study: SSLStudy, most: int) -> Shown:
    """The first `most` test pictures and their labels."""
    data = study.objects
    return data.images["test"][:most], data.labels["test"][:most]


def measured(
    study: SSLStudy,
    group: Group,
    shown: Shown,
    function: Callable[..., Tensor],
    axes: tuple[tuple[str, ...], tuple[float, ...]],
    *more: int,
) -> Rights:
    """Every network under every condition, kept condition by condition, so that a killed page goes on.

    axes: the conditions and their strengths. more: what else the function is told.
    """
    images, labels = shown
    clean = named(group.models, images[: len(labels)].float() / 255, labels, study.device)
    under = [study.run.kept(function, group, images, labels, name, study.device, *more) for name in axes[0]]
    table = torch.stack(under, 1).unflatten(0, group.shape)
    return Rights(group.networks, *axes, clean.unflatten(0, group.shape), table)


def corrupted_rights(study: SSLStudy, group: Group, most: int | None = None) -> Rights:
    """All networks under the nineteen corruptions at five severities, with the constants of CIFAR-10-C.

    most: named are the first so many of the `corrupted` pictures; None: all.
    """
    images, labels = tested(study, study.scale.corrupted)
    return measured(study, group, (images, labels[:most]), named_corrupted, (COMMON + EXTRA, SEVERITIES))


def distorted_rights(study: SSLStudy, group: Group) -> Rights:
    """All networks under the eight subsets of ImageNet-PD, for each |c| of `SWEEP`."""
    shown = tested(study, study.scale.corrupted)
    return measured(study, group, shown, named_distorted, (tuple(SUBSETS), SWEEP))
