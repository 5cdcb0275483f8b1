"""DeepFool beyond its agreement with torchattacks (test_agreement.py)."""

import pytest
import torch
from torch import nn

from lib.attacks import Objective, class_boundaries, deepfool, pair_boundaries
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

MODEL, X = SmallNet(), pictures()
LABELS = MODEL(X).argmax(1)


def test_on_a_linear_model_one_step_reaches_the_nearest_hyperplane():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(432, 5)).double()
    x = 0.4 + 0.2 * X
    labels, weight = linear(x).argmax(1), linear[1].weight
    logits = linear(x)
    distance = torch.stack(
        [
            min(
                (logits[i, labels[i]] - logits[i, k]) / (weight[k] - weight[labels[i]]).norm()
                for k in range(5)
                if k != labels[i]
            )
            for i in range(12)
        ]
    )
    moved = deepfool(class_boundaries(linear, labels), x, steps=1)
    torch.testing.assert_close((moved - x).flatten(1).norm(dim=1), 1.02 * distance)
    assert (linear(moved).argmax(1) != labels).all()


def test_batches_and_all_rivals_give_the_same():
    whole = deepfool(class_boundaries(MODEL, LABELS), X, steps=5)
    torch.testing.assert_close(deepfool(class_boundaries(MODEL, LABELS), X, steps=5, batch=5), whole)
    torch.testing.assert_close(deepfool(class_boundaries(MODEL, LABELS, top=5), X, steps=5), whole)


def test_fewer_rivals_still_cross():
    moved = deepfool(class_boundaries(MODEL, LABELS, top=2), X)
    assert (MODEL(moved).argmax(1) != LABELS).double().mean() > 0.8


def test_pairs_with_a_threshold_each_and_misjudged_ones_untouched():
    model, reference = SmallNet(outputs=16), pictures(seed=2)
    cosine = (model.embed(X) * model.embed(reference)).sum(1).detach()
    same = torch.arange(12) % 2 == 0
    threshold = cosine + torch.where(same, -0.05, 0.05)
    threshold[:2] = cosine[:2] - torch.tensor([-0.05, 0.05])
    moved = deepfool(pair_boundaries(model, reference, same, threshold), X)
    assert torch.equal(moved[:2], X[:2])
    after = (model.embed(moved) * model.embed(reference)).sum(1)
    assert ((after < threshold) == same).double().mean() > 0.8


def test_a_flat_model_leaves_images_alone():
    flat = Objective((MODEL,), lambda x: 0 * MODEL(x) - 1, lambda gaps, labels: gaps, (LABELS,))
    assert torch.equal(deepfool(flat, X, steps=2), X)


def test_misuse_is_told():
    one = Objective((MODEL,), MODEL, lambda logits, labels: logits[:, 0], (LABELS,))
    with pytest.raises(WorkbookError, match="boundaries"):
        deepfool(one, X)
    with pytest.raises(WorkbookError, match="made for 12"):
        deepfool(class_boundaries(MODEL, LABELS), X[:3])
