import pytest
import torch
import torchattacks

from lib.attacks import PairLogits
from lib.attacks.adapters import KnownRows
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

MODEL, X, REFERENCE = SmallNet(outputs=16).float(), pictures().float(), pictures(seed=2).float()
SAME = torch.arange(12) % 2 == 0


def test_logits_hold_the_cosine():
    pairs = PairLogits(MODEL, X, REFERENCE, threshold=0.2, scale=5.0, classes=5)
    logits = pairs(X)
    cosine = (MODEL.embed(X) * MODEL.embed(REFERENCE)).sum(1)
    torch.testing.assert_close(logits[:, 1], 5 * (cosine - 0.2))
    torch.testing.assert_close(logits[:, 0], 5 * (0.2 - cosine))
    assert logits.shape == (12, 5)
    assert (logits[:, 2:].amax(1) <= logits[:, :2].amin(1) - 50 + 1e-4).all()


def test_subsets_find_their_rows():
    pairs = PairLogits(MODEL, X, REFERENCE)
    index = torch.tensor([7, 2, 11])
    noisy = (X[index] + 0.03 * torch.randn_like(X[index])).clamp(0, 1)
    assert torch.equal(pairs.rows(noisy), index)
    torch.testing.assert_close(pairs(X[index]), pairs(X)[index])


@pytest.mark.parametrize("name", ["Square", "APGD", "CW"])
def test_attacks_that_drop_rows_run(name):
    kind = {"Square": {"n_queries": 20}, "APGD": {"loss": "dlr", "steps": 5}, "CW": {"c": 100, "steps": 5}}[name]
    pairs = PairLogits(MODEL, X, REFERENCE, threshold=0.0)
    judged = pairs(X).argmax(1)
    moved = getattr(torchattacks, name)(pairs, **kind)(X, judged)
    before, after = ((pairs(images)[:, 1]) * (2 * judged - 1) for images in (X, moved))
    assert (after <= before + 1e-4).all()
    assert (after < before - 1e-3).any()


def test_budgets_per_image_by_squeezing():
    eps = torch.linspace(0.01, 0.1, 12)
    pairs = PairLogits(MODEL, X, REFERENCE, eps=eps)
    every = torch.arange(12)
    torch.testing.assert_close(pairs.unsqueeze(pairs.squeezed, every), X)
    moved = torchattacks.PGD(pairs, eps=pairs.eps, alpha=pairs.eps / 4)(pairs.squeezed, SAME.long())
    size = (pairs.unsqueeze(moved, every) - X).abs().amax((1, 2, 3))
    torch.testing.assert_close(size, eps, atol=1e-5, rtol=0)


def test_modes_stay_after_torchattacks():
    torchattacks.FGSM(PairLogits(MODEL, X, REFERENCE))(X, SAME.long())
    assert not any(module.training for module in MODEL.modules())


def test_bad_pairs_are_told():
    with pytest.raises(WorkbookError, match="came twice"):
        PairLogits(MODEL, torch.cat([X, X]), torch.cat([REFERENCE, REFERENCE]))
    with pytest.raises(WorkbookError, match="pair them up"):
        PairLogits(MODEL, X, REFERENCE[:5])
    with pytest.raises(WorkbookError, match="above 0"):
        KnownRows(MODEL, X, torch.zeros(12))
