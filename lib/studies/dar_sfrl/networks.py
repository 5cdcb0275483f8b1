"""DAFR: proximal gradient descent unrolled into K stages, which takes an attacked face to a restored one (Figs 2, 3).

    restorer = Restorer(stages=3)
    restored = restorer.unroll(attacked)  # .faces F_1 ... F_K and .residuals N_1 ... N_K

A face is seen as F' = M F + e. Each stage walks against the gradient of ||F' - M F||^2 and then through a learnt
proximal step. Nothing is shared between stages, and the transpose of M is a network of its own.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lib.errors import WorkbookError, choices

HIDDEN = 32  # channels inside M where it is a ResNet or a CNN
PATCH = 4  # side of the patches that the LSTM and the Transformer read


class ResidualPair(nn.Module):
    """M as the released ResNet block: two 3x3 convolutions with bias, 3 -> 32 -> 3, around a skip.

    The text speaks of two such blocks: M and its transpose are one each.
    """

    def __init__(self, act: nn.PReLU, hidden: int):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, HIDDEN, 3, padding=1), act, nn.Conv2d(HIDDEN, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to the same shape."""
        return x + self.body(x)


class PlainPair(nn.Module):
    """M as a CNN: two 3x3 convolutions, each followed by ReLU and batch normalisation, no skip."""

    def __init__(self, act: nn.PReLU, hidden: int):
        super().__init__()
        first, second = (nn.Conv2d(*sides, 3, padding=1) for sides in ((3, HIDDEN), (HIDDEN, 3)))
        self.body = nn.Sequential(first, nn.ReLU(), nn.BatchNorm2d(HIDDEN), second, nn.ReLU(), nn.BatchNorm2d(3))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to the same shape."""
        return self.body(x)


class PatchMixer(nn.Module):
    """M on a sequence of 4x4 patches, row by row; what the sequence gives is added to the image.

    The source says neither what its LSTM and its Transformer read nor how their output becomes an image.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.fold_in, self.fold_out = nn.Linear(3 * PATCH**2, hidden), nn.Linear(hidden, 3 * PATCH**2)

    def mix(self, tokens: Tensor) -> Tensor:
        """Tokens (n, T, hidden) to tokens that know of each other."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to the same shape, H and W multiples of 4."""
        if x.shape[2] % PATCH or x.shape[3] % PATCH:
            raise WorkbookError(f"Patches of {PATCH} pixels do not tile {tuple(x.shape[2:])}: take multiples of it.")
        tokens = self.fold_in(F.unfold(x, PATCH, stride=PATCH).transpose(1, 2))
        patches = self.fold_out(self.mix(tokens)).transpose(1, 2)
        return x + F.fold(patches, x.shape[2:], PATCH, stride=PATCH)


class RecurrentMixer(PatchMixer):
    """M as an LSTM of two layers over the patches."""

    def __init__(self, act: nn.PReLU, hidden: int):
        super().__init__(hidden)
        self.sequence = nn.LSTM(hidden, hidden, num_layers=2, batch_first=True)

    def mix(self, tokens: Tensor) -> Tensor:
        """The states (n, T, hidden) of the LSTM."""
        return self.sequence(tokens)[0]


class AttentionBlock(nn.Module):
    """A pre-normalised Transformer block of four heads."""

    def __init__(self, hidden: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.before, self.after = nn.LayerNorm(hidden), nn.LayerNorm(hidden)
        self.together, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.inner = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (n, T, hidden): self-attention, then two linear layers, each added to what came in."""
        n, length, hidden = tokens.shape
        parts = self.together(self.before(tokens)).view(n, length, 3, self.heads, hidden // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        weight = (query @ key.transpose(2, 3) / math.sqrt(hidden / self.heads)).softmax(3)
        tokens = tokens + self.out((weight @ value).transpose(1, 2).reshape(n, length, hidden))
        return tokens + self.inner(self.after(tokens))


class AttentionMixer(PatchMixer):
    """M as two Transformer blocks over the patches, without positions."""

    def __init__(self, act: nn.PReLU, hidden: int):
        super().__init__(hidden)
        self.blocks = nn.Sequential(AttentionBlock(hidden), AttentionBlock(hidden))

    def mix(self, tokens: Tensor) -> Tensor:
        """The tokens (n, T, hidden) after both blocks."""
        return self.blocks(tokens)


OPERATORS: dict[str, Callable[[nn.PReLU, int], nn.Module]] = {
    "ResNet": ResidualPair,
    "CNN": PlainPair,
    "LSTM": RecurrentMixer,
    "Transformer": AttentionMixer,
}


class ChannelAttentionBlock(nn.Module):
    """Two 3x3 convolutions whose channels are weighed by their means, around a skip."""

    def __init__(self, channels: int, act: nn.PReLU):
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.body = nn.Sequential(first, act, second)
        squeeze, excite = nn.Conv2d(channels, channels // 2, 1), nn.Conv2d(channels // 2, channels, 1)
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), squeeze, nn.ReLU(), excite, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """(n, C, H, W) to the same shape."""
        found = self.body(x)
        return x + found * self.attention(found)


class Stage(nn.Module):
    """One stage of DAFR (eqs 8 to 10): H = F - alpha M^T(M F - F'), then F_k = out(block(lift(H))) + H.

    acts: the PReLU of M, of its transpose and of the proximal step; the released code hands the same ones to all
    stages. 8 946 weights with M a ResNet and a PReLU each. hidden: of M as an LSTM or a Transformer (section 4.4: 256).
    """

    def __init__(
        self,
        operator: str = "ResNet",
        channels: int = 16,
        acts: tuple[nn.PReLU, ...] | None = None,
        hidden: int = 256,
    ):
        super().__init__()
        if operator not in OPERATORS:
            raise WorkbookError(f"M is one of {choices(list(OPERATORS))}, not '{operator}': choose one.")
        forth, back, inner = acts or (nn.PReLU(), nn.PReLU(), nn.PReLU())
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.degrade, self.transposed = OPERATORS[operator](forth, hidden), OPERATORS[operator](back, hidden)
        self.lift = nn.Conv2d(3, channels, 3, padding=1)
        self.block = ChannelAttentionBlock(channels, inner)
        self.out = nn.Conv2d(channels, 3, 1, bias=False)

    def forward(self, face: Tensor, attacked: Tensor) -> Tensor:
        """F_{k-1} and F' (n, 3, H, W) to F_k."""
        walked = face - self.alpha * self.transposed(self.degrade(face) - attacked)
        return self.out(self.block(self.lift(walked))) + walked


class Restored(NamedTuple):
    """Images (n, 3, H, W) of each stage: restored faces F_k, and residuals N_k = F' - F_k."""

    faces: list[Tensor]
    residuals: list[Tensor]


class Restorer(nn.Module):
    """K stages of DAFR: attacked faces (n, 3, H, W) in [0,1] to restored ones, which no clamp keeps in [0,1].

    operator: M as "ResNet", "CNN", "LSTM" or "Transformer" (Table 5). shared_prelu: as in the released code, where one
    PReLU serves all networks M and another all proximal steps, so that 26 831 weights are left of 26 838.
    """

    def __init__(
        self,
        stages: int = 3,
        operator: str = "ResNet",
        channels: int = 16,
        shared_prelu: bool = False,
        hidden: int = 256,
    ):
        super().__init__()
        if stages < 1:
            raise WorkbookError(f"A restorer has at least one stage, not {stages}: raise K.")
        outer, inner = nn.PReLU(), nn.PReLU()
        acts = (outer, outer, inner) if shared_prelu else None
        self.operator = operator
        self.stages = nn.ModuleList(Stage(operator, channels, acts, hidden) for _ in range(stages))

    def unroll(self, attacked: Tensor) -> Restored:
        """What each stage restores, and what it takes for noise."""
        face, faces = attacked, []
        for stage in self.stages:
            face = stage(face, attacked)
            faces.append(face)
        return Restored(faces, [attacked - face for face in faces])

    def forward(self, attacked: Tensor) -> Tensor:
        """F_K (n, 3, H, W)."""
        return self.unroll(attacked).faces[-1]


class Pixels(nn.Module):
    """An encoder whose features (n, 3 H W) are pixels: those that `restorer` gives, or without one the image's own.

    This is DAR's representation: there is no encoder behind the restoration, so that a linear probe on it is a linear
    classifier of pixels.
    """

    def __init__(self, restorer: nn.Module | None = None):
        super().__init__()
        self.restorer = restorer or nn.Identity()
        self.register_buffer("device_of", torch.zeros(0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features of images (n, 3, H, W) in [0,1]."""
        return self.restorer(x).flatten(1)


class Guarded(nn.Module):
    """A restoration in front of an encoder: images (n, 3, H, W) in [0,1] to the encoder's features of F_K."""

    def __init__(self, restorer: nn.Module, encoder: nn.Module):
        super().__init__()
        self.restorer, self.encoder = restorer, encoder

    def forward(self, x: Tensor) -> Tensor:
        """Features (n, d)."""
        return self.encoder(self.restorer(x).clamp(0, 1))


def count_weights(model: nn.Module) -> int:
    """Distinct weights that learn."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def count_multiply_adds(model: nn.Module, side: int, channels: int = 3) -> int:
    """Multiply-adds of one image (1, channels, side, side) in matrix products and convolutions, as torch counts them.

    An LSTM's products are added by hand, since torch does not see into it.
    """
    device = next(model.parameters()).device
    extra = []

    def note(part: nn.LSTM, given: tuple[Tensor, ...], found: object) -> None:
        extra.append(given[0].shape[:2].numel() * sum(w.numel() for w in part.parameters() if w.ndim == 2))

    hooks = [part.register_forward_hook(note) for part in model.modules() if isinstance(part, nn.LSTM)]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.rand(1, channels, side, side, device=device))
    finally:
        for hook in hooks:
            hook.remove()
    seen = sum(flops for name, flops in counter.get_flop_counts()["Global"].items() if "rnn" not in str(name))
    return seen // 2 + sum(extra)
