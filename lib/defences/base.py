"""A defence stands in front of a recogniser: images in, images out. `Defended` makes the two one model."""

from torch import Tensor, nn

from lib.models import Recogniser


class Defended(Recogniser):
    """A recogniser behind a defence, as one differentiable model: attacking it is the online protocol (PIN, sec. V).

    `defence` maps images (n, C, H, W) to images of the same shape; its output is not clamped to [0,1], as in PIN.
    """

    def __init__(self, recogniser: Recogniser, defence: nn.Module):
        super().__init__(f"{recogniser.name} behind {defence}", recogniser.size, 0.0, 1.0, recogniser.channels)
        self.recogniser = recogniser
        self.defence = defence
        self.train(recogniser.training)

    def features(self, x: Tensor) -> Tensor:
        """(n, C, H, W) in [0,1] to raw embeddings (n, d)."""
        return self.recogniser(self.defence(x))
