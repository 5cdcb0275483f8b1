"""Which of a training run's weights to keep: errors on pairs of held-out people, for `fit`'s `held_out`."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from lib.attacks.budgets import Intensity
from lib.attacks.embeddings import verification
from lib.attacks.loop import in_batches
from lib.attacks.settings import PGD
from lib.data.examples import ImagePairs
from lib.evaluation.verification import auc
from lib.models.base import embed_all
from lib.studies.pin.attacks import PIN_INTENSITY


def misordered(scores: Tensor, same: Tensor) -> float:
    """Share of (genuine, impostor) couples whose impostor scores higher: 1 - AUC, ties counting half."""
    return round(1 - auc(scores, same), 12)  # the same order gives the same number: of equals the first stays


@dataclass(frozen=True, eq=False)
class HeldOutError:
    """For `fit`: the mean of the errors on clean and on attacked pairs of held-out people; lower is better.

    pairs: the first image is attacked on the model itself, as PIN does.
    measure(scores (P,), same (P,)): `misordered`, which on few pairs moves in finer steps than the equal error rate
    does, or `lib.evaluation.eer`.
    """

    pairs: ImagePairs
    intensity: float = PIN_INTENSITY
    steps: int = 5
    measure: Callable[[Tensor, Tensor], float] = misordered

    def __call__(self, model: nn.Module) -> float:
        """The mean error of `model`."""
        fixed = embed_all(model, self.pairs.y)
        same = self.pairs.same.cpu()
        attack = PGD.but(steps=self.steps, step=f"1.25*eps/{self.steps}", start="clean")
        attacked = in_batches(verification(model, fixed, same), self.pairs.x, Intensity(self.intensity), attack)
        scores = [(embed_all(model, images) * fixed).sum(1).cpu() for images in (self.pairs.x, attacked)]
        return sum(self.measure(score, same) for score in scores) / 2
