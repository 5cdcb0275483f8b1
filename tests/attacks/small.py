"""Small smooth models in double precision, on which attacks can be compared digit by digit."""

import torch
import torch.nn.functional as F
from torch import nn

from lib.attacks import settings

# every row of the table of settings that follows a gradient, by its name there
ROWS = {name: row for name, row in vars(settings).items() if isinstance(row, settings.Settings) and name != "RANDOM"}


class SmallNet(nn.Module):
    """Four smooth layers on (n, 3, 12, 12) images with batch normalisation and dropout; `outputs` logits."""

    def __init__(self, outputs: int = 6, seed: int = 0, noise: float = 0.0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1),
                nn.BatchNorm2d(8),
                nn.GELU(),
                nn.Conv2d(8, 8, 3, stride=2, padding=1),
                nn.Tanh(),
                nn.Flatten(),
                nn.Dropout(0.3),
                nn.Linear(8 * 6 * 6, outputs),
            )
            for weight in self.parameters():
                weight.data.mul_(2)
        self.noise = noise
        self.double().eval()

    def forward(self, x):
        if self.noise:
            x = x + self.noise * torch.randn_like(x)
        return self.body((x - 0.5) / 0.25)

    def embed(self, x):
        return F.normalize(self(x), dim=1)


def pictures(n: int = 12, seed: int = 1, size: int = 12) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
