import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.contrastive import Contrasted, FaceContrast, MoCo, QueueContrast, SimCLR
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


def moco(**changes):
    with seeded(0):
        return MoCo(16, 4, 8, 6, **{"queue": 10} | changes)


def test_simclr_is_lightly_s_loss():
    lightly = pytest.importorskip("lightly.loss")
    model, x = simclr(), faces()
    ours = SimCLR(x, STILL, 0.3)(model, torch.arange(5), generator())["loss"]
    out = model(x[:5])
    assert ours.item() == pytest.approx(lightly.NTXentLoss(0.3)(out, out).item(), rel=1e-5)


def test_moco_is_lightly_s_loss_with_its_memory_bank():
    lightly = pytest.importorskip("lightly.loss")
    model, x = moco(), faces()
    bank = lightly.NTXentLoss(0.3, memory_bank_size=(10, 6))
    bank.memory_bank.bank = model.queue.clone()
    query = model(x[:5])
    theirs = bank(query, model.keys(x[:5]))
    ours = QueueContrast(x, STILL, 0.3)(model, torch.arange(5), generator())["loss"]
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert torch.allclose(model.queue, bank.memory_bank.bank, atol=1e-6)


def test_the_queue_turns_round():
    model = moco(queue=5)
    keys = F.normalize(torch.rand(8, 6, generator=generator()), dim=1)
    model.enqueue(keys[:3])
    model.enqueue(keys[3:6])
    assert torch.equal(model.queue, torch.stack([keys[5], keys[1], keys[2], keys[3], keys[4]]))
    assert model.place.item() == 1


def test_the_slow_copy_follows_by_the_momentum_and_gets_no_gradient():
    model = moco(momentum=0.9)
    slow, fast = next(model.slow.parameters()), next(model.trunk.parameters())
    with torch.no_grad():
        fast += 1
    before = slow.clone()
    model.follow()
    assert torch.allclose(slow, 0.9 * before + 0.1 * fast, atol=1e-6)
    QueueContrast(faces())(model, torch.arange(4), generator())["loss"].backward()
    assert slow.grad is None
    assert fast.grad is not None


@pytest.mark.parametrize(
    ("model", "loss"),
    [(simclr, SimCLR), (simclr, FaceContrast), (moco, QueueContrast)],
    ids=["SimCLR", "baseline", "MoCo"],
)
def test_each_trains(model, loss):
    model = model()
    views = {} if loss is FaceContrast else {"views": STILL}
    history = fit(model, loss(faces(), **views), 8, Recipe(steps=20, batch=8, rate=1e-2))
    assert loss is not SimCLR or history["loss"][-1] < history["loss"][0]  # the others draw crops or fill a queue
    assert history["loss"].isfinite().all()
    assert set(model.state_dict()) >= {"trunk.body.0.weight"}


def test_wrong_queues_are_told():
    with pytest.raises(WorkbookError, match="needs a queue"):
        moco(queue=0)
