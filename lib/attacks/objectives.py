"""What an attack increases: one score per image, of a model's outputs and of fixed references."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.attacks.guard import device_of, differentiable, frozen
from lib.errors import WorkbookError
from lib.models.base import batch_size


@dataclass(frozen=True)
class Objective:
    """`objective(x) = score(forward(x), *references)`: images (b, C, H, W) to scores (b,), to be INCREASED.

    Any attack goal is one of these: `modules` are the models to freeze during the attack, `forward` maps images to
    whatever `score` takes, `references` are tensors with one row per image. `coupled` says that a row's score depends
    on the other rows (NT-Xent among the attacked views), so that the batch cannot be cut.
    """

    modules: tuple[nn.Module, ...]
    forward: Callable[[Tensor], Tensor]
    score: Callable[..., Tensor]
    references: tuple[Tensor, ...] = ()
    coupled: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (b,) of images `x` (b, C, H, W)."""
        return self.score(self.forward(x), *self.references)

    def __len__(self) -> int:
        """Number of images the references were made for."""
        return len(self.references[0])

    def rows(self, index: slice | Tensor) -> "Objective":
        """The objective of the images `index`, for attacks in batches and on survivors."""
        if self.coupled:
            raise WorkbookError("This objective couples all images of the batch, so it cannot be cut: pass it whole.")
        return replace(self, references=tuple(reference[index] for reference in self.references))

    @property
    def device(self) -> torch.device | None:
        """Where the models are; None for models without parameters."""
        return device_of(*self.modules)


def embedder(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """Images to unit embeddings (b, d): the model's own `embed`, else its normalised output."""
    return model.embed if hasattr(model, "embed") else lambda x: F.normalize(model(x), dim=1)


def run_once(forward: Callable[[Tensor], Tensor], model: nn.Module, x: Tensor) -> Tensor:
    """`forward` over images in batches, in eval mode and without gradients: how references are made."""
    device = device_of(model) or x.device
    with frozen(model), differentiable(), torch.no_grad():
        return torch.cat([forward(part.to(device)) for part in x.split(batch_size(None, device))])


def reference_embeddings(model: nn.Module, reference: Tensor) -> Tensor:
    """Embeddings (n, d) of images (n, C, H, W), computed once; embeddings (n, d) pass as they are."""
    if reference.ndim == 4:
        return run_once(embedder(model), model, reference)
    with differentiable():
        return reference.detach().to(device_of(model) or reference.device).clone()


def signs(flags: bool | Tensor, like: Tensor) -> Tensor:
    """-1 where `flags` is true, +1 elsewhere: (n,) for labels or embeddings `like` (n, ...)."""
    flags = torch.as_tensor(flags, dtype=torch.bool, device=like.device)
    if flags.ndim and flags.shape != (len(like),):
        raise WorkbookError(f"There are {len(like)} images, but flags of shape {tuple(flags.shape)} came: align them.")
    return torch.where(flags.expand(len(like)), -1.0, 1.0)


def class_labels(model: nn.Module, labels: Tensor) -> Tensor:
    """Labels (n,) as whole numbers beside the model."""
    return labels.detach().long().to(device_of(model) or labels.device)


# Classifiers: `model(x)` gives logits (b, k) ------------------------------------------------------------------------


def cross_entropy(model: nn.Module, labels: Tensor, targeted: bool | Tensor = False) -> Objective:
    """Cross-entropy of `labels` (n,); its negative where `targeted` (a flag, or one per image), toward `labels`."""
    labels = class_labels(model, labels)

    def score(logits: Tensor, labels: Tensor, sign: Tensor) -> Tensor:
        return sign * F.cross_entropy(logits, labels, reduction="none")

    return Objective((model,), model, score, (labels, signs(targeted, labels)))


def margin(model: nn.Module, labels: Tensor, targeted: bool | Tensor = False, kappa: float | None = None) -> Objective:
    """Margin loss (Carlini and Wagner): best other logit minus the label's, with the sign turned where `targeted`.

    Positive exactly when the image is misclassified (or has reached its target). `kappa` caps the score there.
    """
    labels = class_labels(model, labels)

    def score(logits: Tensor, labels: Tensor, sign: Tensor) -> Tensor:
        own = logits.gather(1, labels[:, None]).squeeze(1)
        other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        value = sign * (other - own)
        return value if kappa is None else value.clamp(max=kappa)

    return Objective((model,), model, score, (labels, signs(targeted, labels)))


def dlr(model: nn.Module, labels: Tensor, targets: Tensor | None = None) -> Objective:
    """Difference-of-logits ratio (Croce and Hein 2020, eqs 6 and 7): scale-free; with `targets` (n,) the targeted one.

    Needs 3 classes, 4 when targeted.
    """
    labels = class_labels(model, labels)
    needed = 3 if targets is None else 4

    def score(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
        if logits.shape[1] < needed:
            raise WorkbookError(f"This DLR needs {needed} classes, the model has {logits.shape[1]}: take the margin.")
        top = logits.topk(needed, dim=1).values
        own = logits.gather(1, labels[:, None]).squeeze(1)
        if targets is None:
            other = torch.where(own == top[:, 0], top[:, 1], top[:, 0])
            return (other - own) / (top[:, 0] - top[:, 2] + 1e-12)
        aim = logits.gather(1, targets[:, None]).squeeze(1)
        return (aim - own) / (top[:, 0] - (top[:, 2] + top[:, 3]) / 2 + 1e-12)

    return Objective((model,), model, score, (labels,) if targets is None else (labels, class_labels(model, targets)))


def kl(model: nn.Module, x: Tensor) -> Objective:
    """KL divergence from the prediction on clean images `x` (n, C, H, W): TRADES's inner loss, needs no labels."""
    clean = run_once(lambda part: F.log_softmax(model(part), dim=1), model, x)

    def score(logits: Tensor, clean: Tensor) -> Tensor:
        return F.kl_div(F.log_softmax(logits, dim=1), clean, reduction="none", log_target=True).sum(1)

    return Objective((model,), model, score, (clean,))
