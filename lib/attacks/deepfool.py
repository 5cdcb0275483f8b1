"""DeepFool for whole batches: to the nearest linearised boundary, image by image, until the decision changes."""

import torch
from torch import Tensor, nn

from lib.attacks.embeddings import verification
from lib.attacks.guard import arranged, check_images, differentiable, frozen
from lib.attacks.objectives import Objective, class_labels
from lib.errors import WorkbookError
from lib.models.base import batch_size


def class_boundaries(model: nn.Module, labels: Tensor, top: int | None = None) -> Objective:
    """Logit differences (b, k) of the other classes to `labels` (n,): an image is misclassified when one is positive.

    `top` keeps the `top` nearest rivals by logit, of which each costs one backward pass per step; default all.
    """
    labels = class_labels(model, labels)

    def gaps(logits: Tensor, labels: Tensor) -> Tensor:
        others = torch.arange(logits.shape[1] - 1, device=logits.device).expand(len(logits), -1)
        others = others + (others >= labels[:, None])
        gaps = logits.gather(1, others) - logits.gather(1, labels[:, None])
        return gaps if top is None or top >= gaps.shape[1] else gaps.topk(top, dim=1).values

    return Objective((model,), model, gaps, (labels,))


def pair_boundaries(
    model: nn.Module, reference: Tensor, same: bool | Tensor, threshold: float | Tensor = 0.3
) -> Objective:
    """Signed distance (b, 1) of the cosine to `threshold` (a float, or one per pair): positive when misjudged.

    One boundary, so each step is DeepFool's closed form. `reference` and `same` as in `verification`.
    """
    pair = verification(model, reference, same)
    anchors, sign = pair.references
    level = torch.as_tensor(threshold, dtype=anchors.dtype, device=anchors.device).expand(len(anchors))

    def gaps(embedding: Tensor, anchor: Tensor, sign: Tensor, level: Tensor) -> Tensor:
        return (sign * ((embedding * anchor).sum(1) - level))[:, None]

    return Objective(pair.modules, pair.forward, gaps, (anchors, sign, level))


def deepfool(
    boundaries: Objective, x: Tensor, *, steps: int = 50, overshoot: float = 0.02, batch: int | None = None
) -> Tensor:
    """DeepFool (Moosavi-Dezfooli et al. 2016, L2) on images (n, C, H, W) in [0,1], clamped after each step.

    `boundaries` gives (b, k) differences that turn positive at the decision boundary. Images that are already
    misjudged, or that are misjudged after some step, leave the batch; the others stop after `steps`. No budget: see
    `rescale_to_intensity`. Agrees with torchattacks' image-by-image loop.
    """
    check_images(x, len(boundaries))
    images = x.detach().to(boundaries.device or x.device).clone()
    with frozen(*boundaries.modules), differentiable():
        for rows in torch.arange(len(x), device=images.device).split(batch_size(batch, images.device)):
            _fool_(images, rows, boundaries, steps, overshoot)
    return images.to(x.device)


def _fool_(images: Tensor, active: Tensor, boundaries: Objective, steps: int, overshoot: float) -> None:
    """Walk the rows `active` of `images` over their nearest boundary, in place."""
    for _ in range(steps):
        leaf = arranged(images[active], *boundaries.modules).requires_grad_()
        gaps = boundaries.rows(active)(leaf)
        if gaps.ndim != 2:
            raise WorkbookError(
                f"DeepFool takes boundaries (b, k), but {tuple(gaps.shape)} came: see class_boundaries."
            )
        held = gaps.detach().amax(1) <= 0
        if not held.any():
            return
        move = _nearest(gaps, leaf)[held]
        active = active[held]
        images[active] = (leaf.detach()[held] + (1 + overshoot) * move).clamp_(0, 1)


def _nearest(gaps: Tensor, leaf: Tensor) -> Tensor:
    """The shortest move (b, C, H, W) to a linearised boundary: |f| w / ||w||^2 for the k with the least |f| / ||w||."""
    best = torch.full_like(gaps[:, 0], torch.inf)
    move = torch.zeros_like(leaf)
    for k in range(gaps.shape[1]):
        (slope,) = torch.autograd.grad(gaps[:, k].sum(), leaf, retain_graph=k + 1 < gaps.shape[1])
        size = torch.linalg.vector_norm(slope, dim=(1, 2, 3))
        distance = torch.where(size > 0, gaps[:, k].detach().abs() / size, torch.inf)  # a flat gap is never nearest
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        move = torch.where(nearer.view(-1, 1, 1, 1), slope * (distance / size).view(-1, 1, 1, 1), move)
    return move
