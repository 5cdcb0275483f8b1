import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.contrastive import Contrasted, FaceContrast, MoCo, SimCLR
from lib.training.loop import Recipe, fit
from lib.transforms.views import Views

STILL = Views(crop=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray=0.0, blur=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=8):
    return torch.rand(n, 3, 16, 16, generator=generator(4))


def simclr():
    with seeded(0):
        return Contrasted(16, 4, 8, 6)


def moco(images=None, **changes):
    model = simclr()
    with seeded(1):
        return MoCo(faces() if images is None else images, model, **{"queue": 10} | changes)


def test_simclr_is_lightly_s_loss():
    lightly = pytest.importorskip("lightly.loss")
    model, x = simclr(), faces()
    ours = SimCLR(x, STILL, 0.3)(model, torch.arange(5), generator())["loss"]
    out = model(x[:5])
    assert ours.item() == pytest.approx(lightly.NTXentLoss(0.3)(out, out).item(), rel=1e-5)


def test_moco_is_lightly_s_loss_with_its_memory_bank():
    lightly = pytest.importorskip("lightly.loss")
    model, x = simclr(), faces()
    ours = moco(x, views=STILL, temperature=0.3)
    bank = lightly.NTXentLoss(0.3, memory_bank_size=(10, 6))
    bank.memory_bank.bank = ours.queue.rows.clone()
    query = model(x[:5])
    theirs = bank(query, F.normalize(ours.slow(x[:5]), dim=1))
    metrics = ours(model, torch.arange(5), generator())
    assert metrics["loss"].item() == pytest.approx(theirs.item(), rel=1e-5)
    ours.update(model, {"keys": metrics["keys"]})
    assert torch.allclose(ours.queue.rows, bank.memory_bank.bank, atol=1e-6)


def test_the_slow_copy_follows_by_the_momentum_and_gets_no_gradient():
    model, ours = simclr(), moco(momentum=0.9)
    slow, fast = next(ours.slow.parameters()), next(model.parameters())
    with torch.no_grad():
        fast += 1
    before = slow.clone()
    metrics = ours(model, torch.arange(4), generator())
    metrics["loss"].backward()
    ours.update(model, {"keys": metrics["keys"]})
    assert torch.allclose(slow, 0.9 * before + 0.1 * fast, atol=1e-6)
    assert slow.grad is None
    assert fast.grad is not None


@pytest.mark.parametrize(
    ("name", "loss"),
    {"SimCLR": SimCLR(faces(), STILL), "baseline": FaceContrast(faces()), "MoCo": moco(views=STILL)}.items(),
)
def test_each_trains(name, loss):
    model = simclr()
    history = fit(model, loss, 8, Recipe(steps=20, batch=8, rate=1e-2))
    assert name != "SimCLR" or history["loss"][-1] < history["loss"][0]  # the others draw crops or fill a queue
    assert history["loss"].isfinite().all()
    assert set(model.state_dict()) >= {"trunk.body.0.weight"}


def test_wrong_queues_are_told():
    with pytest.raises(WorkbookError, match="needs a queue"):
        moco(queue=0)
