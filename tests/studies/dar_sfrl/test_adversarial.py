import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.adversarial import CleanError, Supervised, TrunkClassifier
from lib.training.loop import Recipe, fit


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def classifier():
    with seeded(0):
        return TrunkClassifier(16, 4, 3)


def examples():
    x = torch.rand(12, 3, 16, 16, generator=generator(1))
    return x, torch.arange(12) % 3


def test_trades_moves_the_prediction_inside_the_ball_and_is_its_formula():
    model, (x, labels) = classifier(), examples()
    loss = Supervised(x, labels, "TRADES")
    batch = loss.examples(model, torch.arange(6), generator())
    assert (batch.attacked - batch.clean).abs().max() <= 8 / 255 + 1e-6
    clean, attacked = model(batch.clean), model(batch.attacked)
    gap = F.kl_div(attacked.log_softmax(1), clean.softmax(1), reduction="batchmean")
    near = batch.clean + 0.001 * torch.randn(batch.clean.shape, generator=generator())
    start = F.kl_div(model(near).log_softmax(1), clean.softmax(1), reduction="batchmean")
    assert gap > 10 * start
    wanted = F.cross_entropy(clean, batch.labels) + 6 * gap
    assert loss.measured(model, batch)["loss"].item() == pytest.approx(wanted.item(), rel=1e-4)


def test_natural_training_attacks_nothing_and_learns():
    model = classifier()
    x, labels = examples()
    x = (0.2 * x + labels.view(-1, 1, 1, 1) / 3).clamp(0, 1)
    assert Supervised(x, labels).examples(model, torch.arange(4), generator()).attacked is None
    before = CleanError(x, labels)(model)
    fit(model, Supervised(x, labels), len(x), Recipe(60, 12, 1e-2))
    assert CleanError(x, labels)(model) < before


def test_wrong_bases_are_told():
    with pytest.raises(WorkbookError, match="base is one of"):
        Supervised(*examples(), "TRADE")
