"""Feature denoising (Xie et al., CVPR 2019, "Feature Denoising for Improving Adversarial Robustness").

Non-local means between the places of a feature map, put into a given recogniser, which is then trained on adversarial
faces (`lib.studies.pin.robust_recognisers`).
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError, choices
from lib.models.base import Recogniser, evaluating
from lib.seeds import seeded

KINDS = ("gaussian", "dot")
# Where blocks go unless told: behind the last layer of 28x28, of 14x14 and of 7x7. The paper has a fourth one in front,
# at 56x56, whose 3136 x 3136 affinities would cost more than the recogniser itself.
PLACES = {
    "MobileFaceNet": ("features_.4", "features_.11", "features_.14"),
    "MobileFaceNetPReLU": ("blocks.4", "blocks.11", "blocks.14"),
    "SmallRecogniser": ("blocks.0", "blocks.1", "blocks.3"),
}


class DenoisingBlock(nn.Module):
    """x + W y, where y_i is a weighted mean of the x_j over all places j of the map (Xie et al., section 4, Figs 4, 5).

    kind "gaussian": weights softmax_j(a_i . b_j / sqrt(d)), with a and b 1x1 convolutions of x to d = C/2 channels;
    kind "dot": y_i = sum_j (x_i . x_j) x_j / N, without parameters of its own. W is a 1x1 convolution that starts at
    zero, so that a recogniser starts as it was (the source reaches the same by a batch normalisation that starts at
    zero). pool: the means run over the maximum of each pool x pool square (Wang et al. 2018), for large maps.
    """

    def __init__(self, channels: int, kind: str = "gaussian", pool: int = 1):
        super().__init__()
        if kind not in KINDS:
            raise WorkbookError(f"A denoising block's kind is one of {choices(KINDS)}, not '{kind}': choose one.")
        if pool < 1:
            raise WorkbookError(f"Denoising blocks pool over squares of at least 1 pixel, not {pool}: 1 is no pooling.")
        self.kind = kind
        self.pool = pool
        if kind == "gaussian":
            self.query, self.key = (nn.Conv2d(channels, max(1, channels // 2), 1) for _ in range(2))
            for embedding in (self.query, self.key):
                nn.init.normal_(embedding.weight, std=0.01)  # as in the authors' code: the first means are nearly flat
                nn.init.zeros_(embedding.bias)
        self.weight = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Feature maps (n, C, H, W) to denoised ones."""
        return x + self.weight(self.means(x))

    def means(self, x: Tensor) -> Tensor:
        """The non-local means y (n, C, H, W)."""
        others = F.max_pool2d(x, self.pool) if self.pool > 1 else x
        values = _places(others)
        if self.kind == "gaussian":
            found = F.scaled_dot_product_attention(_places(self.query(x)), _places(self.key(others)), values)
        else:  # x (v'v): the affinities themselves, N x N numbers, are never formed
            found = _places(x) @ (values.transpose(1, 2) @ values) / values.shape[1]
        return found.transpose(1, 2).unflatten(2, x.shape[2:])

    def extra_repr(self) -> str:
        """Shown in the module's repr, which keys kept results."""
        return f"kind={self.kind}, pool={self.pool}"


def _places(x: Tensor) -> Tensor:
    """Maps (n, C, H, W) as rows (n, HW, C)."""
    return x.flatten(2).transpose(1, 2)


def denoise_features(
    recogniser: Recogniser, after: tuple[str, ...] = (), kind: str = "gaussian", pool: int = 1, seed: int = 0
) -> Recogniser:
    """A trainable copy of `recogniser` with a denoising block behind each layer named in `after`.

    after: names as in `recogniser.named_modules()`, of layers that give maps (n, C, H, W); empty: those of `PLACES`.
    The given recogniser stays untouched and frozen if it was; the copy computes the same until it is trained, and every
    weight of it learns. Batch normalisation that was folded stays folded.
    """
    names = after or PLACES.get(type(recogniser).__name__, ())
    unknown = sorted(set(names) - {name for name, _ in recogniser.named_modules()})
    if not names or unknown:
        what = f"has no layer {choices(unknown)}" if unknown else "has no known places for denoising blocks"
        raise WorkbookError(f"{recogniser.name} {what}: name layers of it in `after`.")
    channels = _channels(recogniser, names)
    denoised = copy.deepcopy(recogniser)
    first = next(recogniser.parameters())
    with seeded(seed):
        for name in names:
            block = DenoisingBlock(channels[name], kind, pool).to(first.device, first.dtype)
            _replace(denoised, name, nn.Sequential(denoised.get_submodule(name), block))
    denoised.name = f"{recogniser.name} with feature denoising"
    return denoised.requires_grad_(True).train(recogniser.training)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` where `name` was."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


@torch.no_grad()
def _channels(recogniser: Recogniser, names: tuple[str, ...]) -> dict[str, int]:
    """Channels of the maps that the named layers give, found by passing one black image."""
    found: dict[str, Tensor] = {}
    layers = [(name, recogniser.get_submodule(name)) for name in names]
    hooks = [
        layer.register_forward_hook(lambda *call, name=name: found.update({name: call[2]})) for name, layer in layers
    ]
    try:
        with evaluating(recogniser):
            recogniser(
                torch.zeros(1, recogniser.channels, *recogniser.size, device=next(recogniser.parameters()).device)
            )
    finally:
        for hook in hooks:
            hook.remove()
    flat = [name for name in names if name not in found or found[name].ndim != 4]
    if flat:
        raise WorkbookError(f"The layer {flat[0]} of {recogniser.name} gives no map (n, C, H, W): name another.")
    return {name: out.shape[1] for name, out in found.items()}
