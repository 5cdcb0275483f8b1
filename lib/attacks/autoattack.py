"""The official AutoAttack (Croce and Hein 2020, package `pyautoattack`), quiet, with survivors and warnings."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pyautoattack import AutoAttack  # torchattacks ships an old `autoattack`, which today's torch cannot import
from torch import Tensor, nn

from lib.attacks.adapters import KnownRows, PairLogits
from lib.attacks.budgets import Size, number
from lib.attacks.guard import check_images, device_of, differentiable, frozen
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError, choices

VERSIONS = {"standard": ("apgd-ce", "apgd-t", "fab-t", "square"), "rand": ("apgd-ce", "apgd-dlr")}
WHITE_BOX = {"apgd-ce", "apgd-t", "apgd-dlr", "fab", "fab-t"}


@dataclass(frozen=True)
class AutoAttackSettings:
    """How AutoAttack runs. version: "standard"; "rand" (APGD with 20 EOT draws) for models that draw; names of attacks.

    `iterations` and `queries` below the official 100 and 5000 make a quick look, not an AutoAttack number.
    """

    version: str | tuple[str, ...] = "standard"
    norm: str = "Linf"
    batch: int = 250
    iterations: int = 100
    queries: int = 5000
    targets: int = 9  # classes of the targeted attacks

    @property
    def names(self) -> tuple[str, ...]:
        """The attacks in their order."""
        version = self.version
        names = VERSIONS.get(version, (version,)) if isinstance(version, str) else tuple(version)
        if not set(names) <= {*WHITE_BOX, "square"}:
            known = f"{choices([*VERSIONS])} or attacks of {choices(sorted({*WHITE_BOX, 'square'}))}"
            raise WorkbookError(f"AutoAttack runs {known}, not {version}: choose among these.")
        return names

    @property
    def random(self) -> bool:
        """Whether it averages over draws."""
        return self.version == "rand"


@dataclass(frozen=True)
class AutoAttackResult:
    """What AutoAttack left of n images: adversarial `images`, who survived what, and what looks suspicious."""

    images: Tensor  # (n, C, H, W) in [0,1]; unbroken images are the clean ones
    clean: Tensor  # (n,) correct before any attack
    robust: Tensor  # (n,) correct after all of them
    survivors: dict[str, Tensor]  # (n,) correct after each attack, in order
    warnings: tuple[str, ...]  # one sentence per sign of gradient masking or misuse


def autoattack(
    model: nn.Module, x: Tensor, labels: Tensor, eps: Size, *, seed: int = 0, **options: object
) -> AutoAttackResult:
    """AutoAttack on a classifier with at least 4 classes: images (n, C, H, W) in [0,1], labels (n,), logits as output.

    options: fields of `AutoAttackSettings`. `eps` may differ per image (n,) when no two images are alike. The global
    random state is left as it was.
    """
    check_images(x)
    settings = AutoAttackSettings(**options)
    names = settings.names
    if isinstance(eps, Tensor) and eps.numel() > 1 and not isinstance(model, KnownRows):
        model = KnownRows(model, x, eps)
    known = model if isinstance(model, KnownRows) and model.eps is not None else None
    inputs, size = (known.squeezed, known.eps) if known else (x.detach(), float(number(eps)))
    inputs = inputs.to(device_of(model) or x.device)
    labels = labels.to(inputs.device)
    with _quiet(inputs.device), frozen(model), differentiable():
        logits = _logits(model, inputs, settings.batch)
        attack = _official(model, inputs, logits.shape[1], size, settings, seed)
        signs = _signs_before(model, inputs, labels, logits, settings)
        clean = logits.argmax(1) == labels
        images, survivors = _in_sequence(attack, inputs, labels, clean, settings)
        if known:
            images = known.unsqueeze(images, torch.arange(len(x), device=images.device))
    survivors = {name: alive.to(x.device) for name, alive in survivors.items()}
    images = images.to(x.device)
    clean = clean.to(x.device)
    robust = survivors[names[-1]]
    images = torch.where((clean & ~robust).view(-1, 1, 1, 1), images, x)
    return AutoAttackResult(images, clean, robust, survivors, (*signs, *_signs_after(survivors)))


def autoattack_pairs(
    model: nn.Module,
    pairs: ImagePairs,
    eps: Size,
    *,
    threshold: float | Tensor,
    reference: Tensor | None = None,
    **options: object,
) -> AutoAttackResult:
    """AutoAttack on verification pairs judged at `threshold`: `robust` are the pairs still judged as `same` says.

    No two first images alike; `reference`: embeddings (P, d) to use in place of those of `pairs.y`; `eps` may be per
    pair; `options` as in `autoattack`, with its `seed`.
    """
    anchors = pairs.y if reference is None else reference
    logits = PairLogits(model, pairs.x, anchors, threshold=threshold, eps=eps)
    return autoattack(logits, pairs.x, pairs.same.long(), eps, targets=1, **options)


def _in_sequence(
    attack: AutoAttack, x: Tensor, labels: Tensor, clean: Tensor, settings: AutoAttackSettings
) -> tuple[Tensor, dict[str, Tensor]]:
    """Each attack on the survivors of those before it; the survivors (n,) after each."""
    images = x.clone()
    robust = clean.clone()
    survivors = {}
    for name in settings.names:
        alive = robust.nonzero().squeeze(1)
        if len(alive):
            attack.attacks_to_run = [name]
            found, _ = attack.run_standard_evaluation(x[alive], labels[alive], batch_size=settings.batch)
            broken = (found != x[alive]).flatten(1).any(1)
            images[alive[broken]] = found[broken]
            robust[alive[broken]] = False
        survivors[name] = robust.clone()
    return images, survivors


def _official(
    model: nn.Module, x: Tensor, classes: int, eps: float, settings: AutoAttackSettings, seed: int
) -> AutoAttack:
    """The official attack as `settings` say, with no more target classes than there are."""
    if classes < 4:
        raise WorkbookError(f"AutoAttack needs 4 classes, this model has {classes}: attack its margin with `ascend`.")
    if settings.norm not in ("Linf", "L2"):
        raise WorkbookError(f'AutoAttack knows the norms "Linf" and "L2", not {settings.norm!r}: choose one of them.')
    version = "rand" if settings.random else "standard"
    attack = AutoAttack(model, norm=settings.norm, eps=eps, seed=seed, version=version, device=x.device)
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(settings.targets, classes - 1)
    for part in (attack.apgd, attack.apgd_targeted, attack.fab):
        part.n_iter = settings.iterations
    attack.square.n_queries = settings.queries
    return attack


@contextmanager
def _quiet(device: torch.device) -> Iterator[None]:
    """No prints, logs or warnings of old calls; the global random state and the debugger's trace as they were."""
    logger = logging.getLogger("auto-attack")
    trace = sys.gettrace()
    devices = [device] if device.type == "cuda" else []
    silenced = logger.disabled
    logger.disabled = True
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.random.fork_rng(devices):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = silenced
        sys.settrace(trace)


@torch.no_grad()
def _logits(model: nn.Module, x: Tensor, batch: int) -> Tensor:
    return torch.cat([model(part) for part in x.split(batch)])


def _signs_before(
    model: nn.Module, x: Tensor, labels: Tensor, logits: Tensor, settings: AutoAttackSettings
) -> list[str]:
    """AutoAttack's own checks, on one batch: randomness, softmax outputs, vanishing gradients."""
    signs = []
    x = x[: settings.batch]
    labels = labels[: settings.batch]
    logits = logits[: settings.batch]
    if not settings.random and not torch.equal(_logits(model, x, len(x)), _logits(model, x, len(x))):
        signs.append('The model draws random numbers: use version "rand".')
    if logits.min() >= 0 and torch.allclose(logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-3):
        signs.append("The outputs look like probabilities: pass logits.")
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
    zero = (gradient.flatten(1) == 0).all(1).float().mean().item()
    if zero > 0:
        signs.append(f"{zero:.0%} of the images have a gradient of zero: the white-box attacks are blind there.")
    return signs


def _signs_after(survivors: dict[str, Tensor]) -> list[str]:
    """A black box that breaks what all white boxes left is a sign of masked gradients."""
    before = [alive for name, alive in survivors.items() if name in WHITE_BOX]
    if "square" not in survivors or not before:
        return []
    gain = int(before[-1].sum() - survivors["square"].sum())
    return [f"Square broke {gain} images that no white-box attack broke: gradients may be masked."] if gain else []
