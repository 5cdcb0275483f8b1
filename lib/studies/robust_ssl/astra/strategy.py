"""ASTrA's strategy network: three heads choose, for each view alone, how far, how long and how fast it is attacked."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models.resnets import ResNet

HEADS = ("eps", "steps", "step")
Logits = tuple[Tensor, ...]  # one (n, k) for each of `HEADS`


@dataclass(frozen=True)
class Ranges:
    """What the heads choose among: budgets and step sizes in 1/255, numbers of iterations. The release's by default."""

    eps: tuple[int, ...] = tuple(range(3, 16))
    steps: tuple[int, ...] = tuple(range(3, 15))
    step: tuple[int, ...] = tuple(range(1, 6))

    def __post_init__(self) -> None:
        """Refuse what no attack can take."""
        for name in HEADS:
            values = getattr(self, name)
            if not values or min(values) < 1 or list(values) != sorted(set(values)):
                raise WorkbookError(f"A range of actions ascends from 1 or more, not {name} = {values}: correct it.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Entries of each range."""
        return tuple(len(getattr(self, name)) for name in HEADS)

    def nearest(self, eps: float, steps: float, step: float) -> tuple[int, ...]:
        """The action (one index a head) whose values are nearest to these."""
        asked = zip(HEADS, (eps, steps, step), strict=True)
        return tuple(
            min(range(len(values)), key=lambda at, values=values, value=value: abs(values[at] - value))
            for values, value in ((getattr(self, name), value) for name, value in asked)
        )


RELEASED = Ranges()


@dataclass(frozen=True, eq=False)
class Actions:
    """How each of n views is attacked: index (n, 3) of the ranges' entries, one column a head."""

    index: LongTensor
    ranges: Ranges = RELEASED

    def values(self, name: str) -> Tensor:
        """What the head `name` chose (n,): a budget or step size in 1/255, a number of iterations."""
        entries = torch.tensor(getattr(self.ranges, name), device=self.index.device)
        return entries[self.index[:, HEADS.index(name)]]

    @property
    def eps(self) -> Tensor:
        """Budgets (n,) in units of [0,1]."""
        return self.values("eps") / 255

    @property
    def steps(self) -> LongTensor:
        """Numbers of iterations (n,)."""
        return self.values("steps")

    @property
    def step(self) -> Tensor:
        """Step sizes (n,) in units of [0,1]."""
        return self.values("step") / 255


class StrategyNetwork(nn.Module):
    """Views (n, 3, H, W) in [0,1] to the logits of the three heads, on a ResNet-18. The release's: width 64, small."""

    def __init__(self, ranges: Ranges = RELEASED, width: int = 8, stem: str = "half"):
        super().__init__()
        self.trunk = ResNet(18, width, stem)
        self.heads = nn.ModuleList(nn.Linear(self.trunk.dim, size) for size in ranges.sizes)

    def forward(self, x: Tensor) -> Logits:
        """One (n, k) for each head."""
        features = self.trunk((x - 0.5) / 0.25)
        return tuple(head(features) for head in self.heads)


class FixedStrategy(nn.Module):
    """The same logits for every view: of no preference, or of one action alone."""

    def __init__(self, ranges: Ranges = RELEASED, action: Sequence[int] | None = None):
        super().__init__()
        for at, size in enumerate(ranges.sizes):
            logits = torch.zeros(size)
            if action is not None:
                logits = logits.log().index_fill(0, torch.tensor(action[at]), 0.0)
            self.register_buffer(f"head{at}", logits)

    def forward(self, x: Tensor) -> Logits:
        """One (n, k) for each head."""
        return tuple(getattr(self, f"head{at}").expand(len(x), -1) for at in range(len(HEADS)))


def draw_actions(logits: Logits, generator: Generator, ranges: Ranges = RELEASED, shared: bool = False) -> Actions:
    """An action for each view, each head drawn from its own softmax.

    An entry of probability p wins with the largest p / q, q exponential, which is how torch draws one of each row.
    shared: the random numbers q of every head start at the same seed, as the release resets its seed before each head.
    Rows have as many numbers as the head has entries, so two heads share a row's numbers in the first row alone.
    """
    seed = int(torch.randint(1 << 40, (), generator=generator))
    columns = []
    for at, scores in enumerate(logits):
        draw = Generator().manual_seed(seed if shared else seed + at)
        q = torch.empty(scores.shape).exponential_(generator=draw).to(scores.device)
        columns.append((scores.float().softmax(1) / q).argmax(1))
    return Actions(torch.stack(columns, 1), ranges)


def log_probability(logits: Logits, actions: Actions) -> Tensor:
    """Log-probability (n,) of each view's action: the sum over the heads."""
    chosen = zip(logits, actions.index.unbind(1), strict=True)
    return sum(F.log_softmax(scores, 1).gather(1, index[:, None]).squeeze(1) for scores, index in chosen)


def entropies(logits: Logits) -> Tensor:
    """Entropy (n, 3) of each head's choice over the largest it can have: 1 undecided, 0 certain."""
    found = []
    for scores in logits:
        p = scores.softmax(1)
        found.append(-torch.special.xlogy(p, p).sum(1) / torch.log(torch.tensor(float(scores.shape[1]))))
    return torch.stack(found, 1)


def adaptation(logits: Logits) -> Tensor:
    """How much each head's choice depends on the view (3,): entropy of the mean choice less the mean entropy.

    Over the largest entropy that the head can have: 0 the same choice for every view, 1 each view certain of its own.
    """
    mean = tuple(scores.softmax(1).mean(0, keepdim=True).clamp_min(1e-12).log() for scores in logits)
    return entropies(mean)[0] - entropies(logits).mean(0)


def expected_value(scores: Tensor, values: Sequence[int]) -> Tensor:
    """Mean value (n,) that a head with logits (n, k) chooses among `values` (k,)."""
    return scores.softmax(1) @ torch.tensor(values, dtype=scores.dtype, device=scores.device)
