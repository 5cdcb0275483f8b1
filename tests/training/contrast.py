"""A loss with everything a state can hold, small: teacher, queue, predictor with batch statistics, running centre."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.training.state import EMA, Queue, StatefulLoss, Turn, rising_momentum

POINTS = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))


def encoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 4))


class Contrast(StatefulLoss):
    """MoCo's loss on noisy points, with a predictor as in BYOL and a centre as in DINO."""

    def __init__(self, x, model, size=11):
        super().__init__()
        self.x = x
        self.teacher = EMA(model)
        self.queue = Queue(size, 4)
        self.predictor = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.register_buffer("centre", torch.zeros(4))

    def forward(self, model, index, generator):
        x = self.x[index]
        first, second = (x + 0.1 * torch.randn(x.shape, generator=generator) for _ in range(2))
        query = F.normalize(self.predictor(model(first)), dim=1)
        with torch.no_grad():
            key = F.normalize(self.teacher(second) - self.centre, dim=1)
        logits = torch.cat([(query * key).sum(1, keepdim=True), query @ self.queue.rows.T], dim=1) / 0.2
        loss = F.cross_entropy(logits, torch.zeros(len(index), dtype=torch.long))
        return {"loss": loss, "rows": torch.tensor(float(len(index))), "keys": key}

    def update(self, model, rows):
        keys = rows["keys"]
        self.teacher.follow(model, rising_momentum(0.9, self.done))
        self.queue.push(keys + 1e-3 * torch.randn(keys.shape))
        self.centre.lerp_(keys.mean(0), 0.1)


class Alternating(Contrast):
    """Contrast with a policy: how strong the noise is, chosen by a policy that is taught by its own loss."""

    turns = (
        Turn("encode", ("model.", "loss.predictor."), {"clip": 1.0}),
        Turn("choose", ("loss.policy",), {"optimiser": "sgd", "rate": 0.5}),
    )

    def __init__(self, x, model):
        super().__init__(x, model)
        self.policy = nn.Parameter(torch.zeros(2))

    def encode(self, model, index, generator):
        return self.forward(model, index, generator)

    def choose(self, model, index, generator):
        with torch.no_grad():
            gain = model(self.x[index]).square().mean()
        drawn = torch.rand((), generator=generator)
        return {"loss": -(gain * (self.policy.softmax(0)[0] - drawn)).sum(), "drawn": drawn}
