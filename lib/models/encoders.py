"""Face encoders on a ResNet trunk, and the projector that contrastive pre-training puts on them.

The projector sits on the trunk's features, as in SimCLR, and not behind the linear embedding: what pre-training trains
is the trunk. The embedding layer gets no gradient then and is new at fine-tuning; the projector is thrown away.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import Recogniser
from lib.models.resnets import Norm, ResNet


class FaceEncoder(Recogniser):
    """A ResNet trunk and a linear embedding: images (n, 3, *size) in [0,1] to raw embeddings (n, dim).

    size, depth, width, stem, norm: see `lib.models.resnets.ResNet`. ACL-triplet's network is depth 50 at width 64.
    """

    def __init__(
        self,
        size: tuple[int, int] = (56, 56),
        depth: int = 18,
        width: int = 64,
        stem: str = "half",
        dim: int = 128,
        norm: Norm = nn.BatchNorm2d,
    ):
        super().__init__(f"ResNet-{depth} of width {width}", size, mean=0.5, std=0.25)
        self.trunk = ResNet(depth, width, stem, norm)
        self.embedding = nn.Linear(self.trunk.dim, dim)

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, dim) of normalised images."""
        return self.embedding(self.trunk(x))

    def representation(self, x: Tensor) -> Tensor:
        """The trunk's features (n, trunk.dim) of images in [0,1]: what projectors and linear probes stand on."""
        self.check(x)
        return self.trunk((x - self.mean) / self.std)


class Projected(nn.Module):
    """The model of contrastive pre-training: `encoder.representation`, then a projector. `encoder` is what stays."""

    def __init__(self, encoder: FaceEncoder, projector: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(self, x: Tensor) -> Tensor:
        """Raw projections (n, k) of images (n, C, H, W) in [0,1]."""
        return self.projector(self.encoder.representation(x))

    def embed(self, x: Tensor) -> Tensor:
        """Projections of unit length (n, k): contrastive losses and attacks compare these."""
        return F.normalize(self(x), dim=1)


def projector(inputs: int, hidden: int, outputs: int, layers: int = 2, norm: Norm | None = None) -> nn.Sequential:
    """An MLP (n, inputs) -> (n, outputs) of `layers` linear layers with ReLU between them.

    layers=2 without `norm` is the formula of SimCLR (section 2.1) and ACL-triplet's text; with norm=nn.BatchNorm1d (or
    DualBatchNorm1d) each linear layer, the last one too, is normalised instead of having a bias, as in ACL's code.
    """
    if min(inputs, hidden, outputs, layers) < 1:
        came = f"inputs={inputs}, hidden={hidden}, outputs={outputs}, layers={layers}"
        raise WorkbookError(f"A projector needs sizes and layers of at least 1, but {came} came: raise them.")
    widths = [inputs, *[hidden] * (layers - 1), outputs]
    stack = []
    for inner, outer in zip(widths, widths[1:], strict=False):
        stack += [nn.Linear(inner, outer, bias=norm is None), *([norm(outer)] if norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*stack[:-1])
