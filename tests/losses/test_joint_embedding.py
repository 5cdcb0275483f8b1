"""Each loss against a loop over rows and columns, and against lightly's where that is installed."""

import math

import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.losses.joint_embedding import (
    barlow_twins,
    byol,
    next_centre,
    predictive,
    queued_contrast,
    self_distillation,
    sinkhorn,
    swapped_prediction,
    vicreg,
)

N, D = 6, 5


def rows(seed, n=N, d=D):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def softmax(values, temperature):
    powers = [math.exp(value / temperature) for value in values]
    return [power / sum(powers) for power in powers]


def entropy(target, values, temperature):
    chances = softmax(values, temperature)
    return -sum(share * math.log(chance) for share, chance in zip(target, chances, strict=True))


def test_predictive_and_byol_by_rows():
    p, z = rows(0), rows(1)
    cosines = [sum(a * b for a, b in zip(p[i].tolist(), z[i].tolist(), strict=True)) for i in range(N)]
    cosines = [value / (p[i].norm() * z[i].norm()).item() for i, value in enumerate(cosines)]
    assert predictive(p, z).item() == pytest.approx(-sum(cosines) / N, rel=1e-5)
    squared = sum((F.normalize(p, dim=1)[i] - F.normalize(z, dim=1)[i]).square().sum().item() for i in range(N)) / N
    assert byol(p, z).item() == pytest.approx(squared, rel=1e-5)


@pytest.mark.parametrize("detach", [True, False])
def test_the_target_learns_only_when_asked(detach):
    p, z = rows(0).requires_grad_(), rows(1).requires_grad_()
    predictive(p, z, detach).backward()
    assert p.grad.abs().sum() > 0
    assert (z.grad is None) == detach


def test_queued_contrast_by_rows():
    q, k, queue = (F.normalize(rows(i, n), dim=1) for i, n in ((0, N), (1, N), (2, 9)))
    total = 0.0
    for i in range(N):
        values = [(q[i] @ other).item() for other in (k[i], *queue)]
        total -= math.log(softmax(values, 0.2)[0])
    assert queued_contrast(q, k, queue, 0.2).item() == pytest.approx(total / N, rel=1e-5)


def test_sinkhorn_by_rows_and_columns():
    scores = rows(0, 8, 4).tanh()
    table = [[math.exp(value / 0.05) for value in row] for row in scores.double().tolist()]
    for _ in range(3):
        for j in range(4):
            column = sum(row[j] for row in table)
            for row in table:
                row[j] /= column
        for row in table:
            total = sum(row)
            row[:] = [value / total for value in row]
    found = sinkhorn(scores)
    assert torch.allclose(found, torch.tensor(table), atol=1e-5)
    assert torch.allclose(found.sum(1), torch.ones(8))
    assert torch.allclose(sinkhorn(scores, iterations=200).sum(0), torch.full((4,), 2.0), atol=1e-3)


def test_sinkhorn_survives_scores_that_overflow():
    assert torch.isfinite(sinkhorn(100 * rows(0))).all()


def test_swapped_prediction_by_rows():
    views = [rows(i).tanh() for i in range(4)]
    codes = [sinkhorn(view).tolist() for view in views[:2]]
    wanted = 0.0
    for i in range(2):
        for j in range(4):
            if i != j:
                wanted += sum(entropy(codes[i][r], views[j][r].tolist(), 0.1) for r in range(N)) / N / 3
    assert swapped_prediction(views).item() == pytest.approx(wanted / 2, rel=1e-4)


def test_self_distillation_by_rows():
    student, teacher, centre = [rows(i) for i in range(3)], [rows(5), rows(6)], rows(7)[0]
    wanted = []
    for i in range(2):
        for j in range(3):
            if i != j:
                targets = [softmax((teacher[i][r] - centre).tolist(), 0.5) for r in range(N)]
                wanted.append(sum(entropy(targets[r], student[j][r].tolist(), 0.1) for r in range(N)) / N)
    assert self_distillation(student, teacher, centre, sharp=0.5).item() == pytest.approx(sum(wanted) / 4, rel=1e-4)
    means = [sum(view[r][k].item() for view in teacher for r in range(N)) / (2 * N) for k in range(D)]
    found = next_centre(centre, teacher)
    assert torch.allclose(found, 0.9 * centre + 0.1 * torch.tensor(means), atol=1e-6)


def test_barlow_twins_by_entries():
    a, b = rows(0), rows(1)
    wanted = 0.0
    for i in range(D):
        for j in range(D):
            one, other = a[:, i], b[:, j]
            covariance = ((one - one.mean()) * (other - other.mean())).mean()
            spreads = [(side.var(unbiased=False) + 1e-5).sqrt() for side in (one, other)]
            entry = (covariance / spreads[0] / spreads[1]).item()
            wanted += (1 - entry) ** 2 if i == j else 5e-3 * entry**2
    assert barlow_twins(a, b).item() == pytest.approx(wanted, rel=1e-4)


def test_vicreg_by_entries():
    a, b = rows(0), 0.3 * rows(1)
    wanted = 25 * sum((a[r][k] - b[r][k]).item() ** 2 for r in range(N) for k in range(D)) / (N * D)
    for view in (a, b):
        wanted += 25 * sum(max(0.0, 1 - (view[:, k].var() + 1e-4).sqrt().item()) for k in range(D)) / D / 2
        for i in range(D):
            for j in range(D):
                if i != j:
                    product = (view[:, i] - view[:, i].mean()) * (view[:, j] - view[:, j].mean())
                    wanted += (product.sum().item() / (N - 1)) ** 2 / D
    assert vicreg(a, b).item() == pytest.approx(wanted, rel=1e-4)


def test_they_are_lightlys():
    theirs = pytest.importorskip("lightly.loss")
    from lightly.loss.swav_loss import sinkhorn as their_sinkhorn

    a, b, c = rows(0), rows(1), rows(2)
    assert predictive(a, b).item() == pytest.approx(theirs.NegativeCosineSimilarity()(a, b).item(), rel=1e-5)
    assert barlow_twins(a, b).item() == pytest.approx(theirs.BarlowTwinsLoss()(a, b).item(), rel=1e-4)
    assert vicreg(a, b).item() == pytest.approx(theirs.VICRegLoss()(a, b).item(), rel=1e-4)
    assert torch.allclose(sinkhorn(a.tanh()), their_sinkhorn(a.tanh()), atol=1e-5)
    dino = theirs.DINOLoss(output_dim=D, teacher_temp=0.04)
    found = self_distillation([a, b, c], [b, c], torch.zeros(D))
    assert found.item() == pytest.approx(dino([b, c], [a, b, c]).item(), rel=1e-4)
    assert torch.allclose(next_centre(torch.zeros(D), [b, c]), dino.center.flatten(), atol=1e-6)


def test_autocast_changes_nothing():
    a, b = rows(0), rows(1)
    plain = (barlow_twins(a, b), vicreg(a, b), queued_contrast(a, b, rows(2)))
    with torch.autocast("cpu", torch.bfloat16):
        under = (barlow_twins(a, b), vicreg(a, b), queued_contrast(a, b, rows(2)))
    assert all(torch.equal(one, other) for one, other in zip(plain, under, strict=True))


def test_collapse_pays_without_the_term_that_forbids_it():
    """At one point for all, alignment is perfect; only the terms against collapse object."""
    one = torch.ones(N, D) + 1e-3 * rows(0)
    healthy, other = rows(1), rows(1) + 0.1 * rows(2)
    assert predictive(one, one).item() < predictive(healthy, other).item()
    assert vicreg(one, one, (25, 0, 0)).item() < vicreg(healthy, other, (25, 0, 0)).item()
    assert vicreg(one, one).item() > vicreg(healthy, other).item()


@pytest.mark.parametrize("loss", [predictive, byol, barlow_twins, vicreg])
def test_views_of_different_shape_are_told(loss):
    with pytest.raises(WorkbookError, match="same shape"):
        loss(rows(0), rows(1, N - 1))


def test_a_single_view_is_told():
    with pytest.raises(WorkbookError, match="two views"):
        swapped_prediction([rows(0)])
    with pytest.raises(WorkbookError, match="different views"):
        self_distillation([rows(0)], [rows(0)], torch.zeros(D))
