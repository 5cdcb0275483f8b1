"""S2O: adversarial training with second-order statistics of the weights (Jin et al., CVPR 2022), a rival of ANCRA."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor

from lib.errors import WorkbookError
from lib.losses.adversarial import BASES
from lib.models.classifiers import Classifier
from lib.studies.ancra.adversarial_training import TINY
from lib.studies.ancra.awp_sat import both, check_base
from lib.training.adversarial import AdversarialTraining, AttackedBatch, measures
from lib.training.loop import Metrics


def unlike_labels(logits: Tensor, labels: Tensor, share: float = 0.2) -> Tensor:
    """Soft labels (n, K) of S2O's release: `share` for the label, the rest for classes little correlated with it.

    M = |sum of z z^T| over the batch's logits z (n, K); class k gets a part proportional to max_j M_yj - M_yk.
    """
    z = logits.detach().float()
    with torch.autocast(z.device.type, enabled=False):
        second = (z.T @ z).abs()
    rest = (second.amax(1, keepdim=True) - second).fill_diagonal_(0)
    rest = (1 - share) * rest / rest.sum(1, keepdim=True).clamp(min=TINY)
    return rest.fill_diagonal_(share)[labels]


@dataclass(frozen=True, eq=False, kw_only=True)
class S2O(AdversarialTraining):
    """Second-order statistics optimisation (Jin et al. 2022) on PGD-AT or TRADES; default as in the release's AT+S2O.

    Its theory: a PAC-Bayes bound that tightens as the weights of the posterior get less correlated, with correlations
    from a Laplace approximation. The released code, whose numbers are ANCRA's with a dagger, and ours do without: they
    turn second moments of the logits into soft labels (`unlike_labels`), and lower the base's cross-entropy to
    1 - weight for the mean KL to these labels on clean and attacked images. weight: the release takes 0.1 on PGD-AT and
    0.3 on TRADES; share: 0.2 for 10 classes, 0.02 for 100. The release attacks from a uniform start by steps of 2/255.
    """

    base: str = "PGD-AT"
    weight: float = 0.1
    share: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what is not defined."""
        super().__post_init__()
        check_base(self, "PGD-AT", "TRADES")
        if not 0 <= self.weight <= 1 or not 0 <= self.share <= 1:
            raise WorkbookError(
                f"S2O's weight and share lie in [0,1], not {self.weight} and {self.share}: change these."
            )

    def __call__(self, model: Classifier, index: LongTensor, generator: torch.Generator) -> Metrics:
        """The loss on the images `index` (b,), and its second-order term."""
        return self.measured(model, self.examples(model, index, generator))

    def measured(self, model: Classifier, examples: AttackedBatch) -> Metrics:
        """Loss and metrics."""
        clean, attacked = both(model, examples)
        y = examples.labels
        loss = BASES[self.base](clean, attacked, y)
        soft = ((z.log_softmax(1), unlike_labels(z, y, self.share)) for z in (clean, attacked))
        term = torch.stack([F.kl_div(*pair, reduction="batchmean") for pair in soft]).mean()
        loss = loss - self.weight * F.cross_entropy(attacked if self.base == "PGD-AT" else clean, y)
        return measures(loss + self.weight * term, y, clean, attacked, term=term)
