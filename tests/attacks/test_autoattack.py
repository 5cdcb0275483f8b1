import pytest
import torch
from torch import nn

from lib.attacks import autoattack, autoattack_pairs
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

QUICK = {"iterations": 8, "queries": 30}
MODEL, X = SmallNet().float(), pictures().float()
LABELS = MODEL(X).argmax(1)
LABELS[0] = (LABELS[0] + 1) % 6


def test_breaks_images_inside_the_budget_and_says_which(capsys, recwarn):
    state = torch.get_rng_state()
    result = autoattack(MODEL, X, LABELS, "2/255", **QUICK)
    assert capsys.readouterr().out == ""
    assert not recwarn.list
    assert torch.equal(torch.get_rng_state(), state)
    assert (result.images - X).abs().max() <= 2 / 255 + 1e-6
    assert torch.equal(MODEL(result.images).argmax(1) == LABELS, result.robust)
    assert result.clean.tolist() == [False] + [True] * 11
    assert torch.equal(result.images[result.robust], X[result.robust])
    assert torch.equal(result.images[0], X[0])
    counts = [int(alive.sum()) for alive in result.survivors.values()]
    assert list(result.survivors) == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[-1] < 11
    assert result.warnings == ()


def test_epsilon_per_image():
    eps = torch.linspace(0.002, 0.05, 12)
    result = autoattack(MODEL, X, LABELS, eps, version=("apgd-ce",), **QUICK)
    moved = (result.images - X).abs().amax((1, 2, 3))
    assert (moved <= eps + 1e-6).all()
    assert (moved > 0).sum() >= 3
    assert torch.equal(MODEL(result.images).argmax(1) == LABELS, result.robust)


def test_pairs_are_judged_at_their_threshold():
    model, reference = SmallNet(outputs=16).float(), pictures(seed=2).float()

    def says_same(images):
        return (model.embed(images) * model.embed(reference)).sum(1) > 0.2

    same = says_same(X)
    same[0] = ~same[0]
    result = autoattack_pairs(model, ImagePairs(X, reference, same), torch.full((12,), 0.02), threshold=0.2, **QUICK)
    assert torch.equal(says_same(result.images) == same, result.robust)
    assert result.clean.sum() == 11
    assert result.robust.sum() < 11


def test_random_version_runs():
    result = autoattack(SmallNet(noise=0.05).float(), X, LABELS, "8/255", version="rand", iterations=3)
    assert list(result.survivors) == ["apgd-ce", "apgd-dlr"]


class Probabilities(SmallNet):
    def forward(self, x):
        return super().forward(x).softmax(1)


class Rounded(SmallNet):
    """A gate without a gradient."""

    def forward(self, x):
        return super().forward(x).mul(2).round() + 0 * x.sum((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("model", "word"),
    [(SmallNet(noise=0.1), "random"), (Probabilities(), "probabilities"), (Rounded(), "gradient of zero")],
)
def test_suspicious_models_are_flagged(model, word):
    result = autoattack(model.float(), X, LABELS, "1/255", version=("apgd-ce",), iterations=2)
    assert any(word in sentence for sentence in result.warnings)


def test_square_beating_white_boxes_is_flagged():
    result = autoattack(
        Rounded().float(), X, LABELS, "16/255", version=("apgd-ce", "square"), iterations=1, queries=300
    )
    assert any("Square broke" in sentence for sentence in result.warnings)


def test_misuse_is_told():
    two = nn.Sequential(nn.Flatten(), nn.Linear(432, 2))
    with pytest.raises(WorkbookError, match="needs 4 classes, this model has 2"):
        autoattack(two, X, LABELS, "8/255")
    with pytest.raises(WorkbookError, match="standard, rand"):
        autoattack(MODEL, X, LABELS, "8/255", version="plus")
    with pytest.raises(WorkbookError, match="norms"):
        autoattack(MODEL, X, LABELS, "8/255", norm="L1")
