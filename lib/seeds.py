"""Random numbers that follow from a seed and leave those of the caller alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn inside (new weights, PIN's masks, dropout) follows from `seed`; torch's generators go on after."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
