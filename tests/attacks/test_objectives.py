"""Scores against slow obvious references, and the direction of each."""

import pytest
import torch
import torch.nn.functional as F
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

from lib.attacks import (
    PGD,
    Linf,
    ascend,
    cross_entropy,
    dlr,
    dodging,
    feature_distance,
    instance,
    kl,
    margin,
    nt_xent,
    nt_xent_rows,
    triplet,
    verification,
)
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

MODEL, X = SmallNet(), pictures()
LABELS = torch.arange(12) % 6
OTHER = (LABELS + 2) % 6


def close(one, two):
    torch.testing.assert_close(one, two)


def test_cross_entropy_and_its_targeted_mix():
    losses = torch.stack([-MODEL(X)[i].log_softmax(0)[LABELS[i]] for i in range(12)])
    close(cross_entropy(MODEL, LABELS)(X), losses)
    targeted = torch.arange(12) < 5
    close(cross_entropy(MODEL, LABELS, targeted)(X), torch.where(targeted, -losses, losses))


def test_margin_is_positive_exactly_when_misclassified():
    logits = MODEL(X)
    expected = torch.stack(
        [max(logits[i, k] for k in range(6) if k != LABELS[i]) - logits[i, LABELS[i]] for i in range(12)]
    )
    close(margin(MODEL, LABELS)(X), expected)
    close(margin(MODEL, LABELS, targeted=True)(X), -expected)
    assert torch.equal(expected > 0, logits.argmax(1) != LABELS)
    assert margin(MODEL, LABELS, kappa=0.1)(X).max() <= 0.1


def test_dlr_equals_the_official_one():
    close(dlr(MODEL, LABELS)(X), APGDAttack(MODEL, device="cpu", eps=0.1).dlr_loss(MODEL(X), LABELS))
    targeted = APGDAttack_targeted(MODEL, device="cpu", eps=0.1)
    targeted.y_target = OTHER
    close(dlr(MODEL, LABELS, OTHER)(X), targeted.dlr_loss_targeted(MODEL(X), LABELS))
    with pytest.raises(WorkbookError, match="needs 3 classes"):
        dlr(SmallNet(outputs=2), LABELS)(X)


def test_kl_is_zero_at_the_clean_image():
    objective = kl(MODEL, X)
    close(objective(X), torch.zeros(12, dtype=X.dtype))
    moved = (X + 0.05).clamp(0, 1)
    clean, other = MODEL(X).softmax(1), MODEL(moved).softmax(1)
    close(objective(moved), (clean * (clean / other).log()).sum(1))


def test_verification_takes_images_or_embeddings():
    reference = pictures(seed=2)
    same = torch.arange(12) % 3 == 0
    cosine = F.cosine_similarity(MODEL(X), MODEL(reference))
    close(verification(MODEL, reference, same)(X), torch.where(same, -cosine, cosine))
    close(verification(MODEL, MODEL.embed(reference).detach(), same)(X), torch.where(same, -cosine, cosine))
    with pytest.raises(WorkbookError, match="align"):
        verification(MODEL, reference, same[:4])


def test_references_are_embedded_once_and_without_gradient():
    calls = []
    hook = MODEL.register_forward_hook(lambda *_: calls.append(1))
    objective = dodging(MODEL, X)
    ascend(objective, X, Linf("8/255"), PGD.but(steps=3))
    hook.remove()
    assert len(calls) == 4
    assert not any(reference.requires_grad for reference in objective.references)


def test_triplet_by_hand():
    positive, negative = pictures(seed=2), pictures(seed=3)
    gap = (MODEL.embed(X) - MODEL.embed(positive)).norm(dim=1) - (MODEL.embed(X) - MODEL.embed(negative)).norm(dim=1)
    close(triplet(MODEL, positive, negative)(X), gap)
    hinge = triplet(MODEL, positive, negative, margin=0.1)
    close(hinge(X), (gap + 0.1).clamp(min=0))
    done = gap < -0.1
    still = ascend(hinge, X, Linf("8/255"), PGD.but(start="clean"))
    assert torch.equal(still[done], X[done])
    free = ascend(triplet(MODEL, positive, negative), X, Linf("8/255"), PGD.but(start="clean"))
    assert ((free - X).abs().amax((1, 2, 3)) > 0).all()


def test_distance_at_zero_has_a_finite_gradient():
    moved = ascend(feature_distance(MODEL, X), X, Linf("8/255"), PGD)
    assert (feature_distance(MODEL, X)(moved) > 0.1).all()


def test_feature_distance_to_a_teacher():
    teacher = SmallNet(seed=5)
    target = teacher(X).detach()
    close(feature_distance(MODEL, target, "cosine")(X), 1 - F.cosine_similarity(MODEL(X), target))
    close(feature_distance(MODEL, target, "squared")(X), (MODEL(X) - target).square().sum(1))
    with pytest.raises(WorkbookError, match="distance"):
        feature_distance(MODEL, target, "l7")


def slow_nt_xent(z, temperature):
    """SimCLR's equation 1, term by term; rows i and i + n are positives."""
    n, losses = len(z) // 2, []
    for i in range(2 * n):
        terms = {k: torch.exp(z[i] @ z[k] / temperature) for k in range(2 * n) if k != i}
        losses.append(-torch.log(terms[(i + n) % (2 * n)] / sum(terms.values())))
    return torch.stack(losses)


def test_nt_xent_equals_the_formula():
    z = MODEL.embed(X)
    close(nt_xent_rows(z, 0.5), slow_nt_xent(z, 0.5))
    close(nt_xent(MODEL, temperature=0.2)(X), slow_nt_xent(z, 0.2))
    other = pictures(seed=2)
    both = slow_nt_xent(torch.cat([z, MODEL.embed(other)]), 0.5)
    close(nt_xent(MODEL, other)(X).sum(), both.sum())


def test_instance_loss_is_cut_without_change():
    objective = instance(MODEL, pictures(seed=2), temperature=0.3)
    logits = MODEL.embed(X) @ MODEL.embed(pictures(seed=2)).T / 0.3
    close(objective(X), F.cross_entropy(logits, torch.arange(12), reduction="none"))
    close(objective.rows(slice(4, 9))(X[4:9]), objective(X)[4:9])


@pytest.mark.parametrize(
    "objective",
    [nt_xent(MODEL), nt_xent(MODEL, pictures(seed=2)), instance(MODEL, pictures(seed=2)), feature_distance(MODEL, X)],
)
def test_contrastive_objectives_ascend(objective):
    assert objective(ascend(objective, X, Linf("8/255"), PGD)).sum() > objective(X).sum() + 0.1
