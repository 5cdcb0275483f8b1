"""AdvCL (Fan et al. 2021): a high-pass view more, pseudo-labels, and three sets of batch normalisation."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from sklearn.cluster import MiniBatchKMeans
from torch import Generator, LongTensor, Tensor, nn

from lib.attacks.budgets import Linf
from lib.attacks.loop import ascend
from lib.attacks.objectives import Objective, reference_embeddings
from lib.attacks.settings import PGD
from lib.errors import WorkbookError
from lib.losses.multi_view import multi_view_rows
from lib.models.triple_norm import labelled_route
from lib.studies.robust_ssl.adversarial.methods import Aids, Options, SelfAdversarial
from lib.studies.robust_ssl.adversarial.networks import RoutedNetwork
from lib.studies.robust_ssl.adversarial.strength import climb
from lib.training.adversarial_contrast import health, routed
from lib.training.batches import pixels_of
from lib.training.loop import Metrics
from lib.transforms.crops import crop_flip
from lib.transforms.frequencies import high_pass

CLUSTERS = (2, 10, 50, 100, 500)


@dataclass(frozen=True)
class AdvCLOptions(Options):
    """weight: of the pseudo-labels. radius: of the frequencies that the high-pass view lacks, at 32 pixels a side.

    scale: of the contrast; its code inherits tau / 0.07 from supervised contrast, the paper's formula has 1.
    """

    weight: float = 0.2
    radius: float = 8
    scale: float = 0.5 / 0.07


def pseudo_labels(features: Tensor, clusters: tuple[int, ...] = CLUSTERS, seed: int = 0) -> LongTensor:
    """Clusters (n, k) of features (n, d) brought to unit length, by k-means with each of the k numbers of clusters."""
    if max(clusters) > len(features):
        raise WorkbookError(f"{len(features)} pictures cannot fall into {max(clusters)} clusters: ask for fewer.")
    unit = F.normalize(features.float(), dim=1).numpy()
    found = []
    for count in clusters:
        means = MiniBatchKMeans(count, random_state=seed, n_init=3, batch_size=4096)
        found.append(torch.from_numpy(means.fit_predict(unit)).long())
    return torch.stack(found, 1)


class AdvCL(SelfAdversarial):
    """Contrast of four views (attacked, two clean, high-pass) plus pseudo-labels of a second attacked copy.

    Two copies of the weakly augmented picture are attacked: one on the contrast, one on the pseudo-labels. The code
    climbs their weighted sum; since each copy feels its own part alone and steps follow signs, that is two attacks.
    """

    name = "AdvCL"
    norms = 3
    layers = 2
    Options = AdvCLOptions

    def prepare(self, model: RoutedNetwork, aids: Aids) -> None:
        """One linear head for each pseudo-labelling."""
        if aids.pseudo is None or len(aids.pseudo) != len(self.images):
            raise WorkbookError(f"AdvCL needs pseudo-labels ({len(self.images)}, k) of its pictures: cluster them.")
        self.pseudo = aids.pseudo
        sizes = (self.pseudo.amax(0) + 1).tolist()
        self.heads = nn.ModuleList(nn.Linear(model.encoder.dim, size) for size in sizes)

    def forward(self, model: RoutedNetwork, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss", "contrast", "pseudo loss"} and the health of the two clean views."""
        x = crop_flip(pixels_of(self.images, index, model), generator)
        labels = self.pseudo[index].to(x.device)
        clean = torch.cat([self.two_views(model, index, generator), self.sharp(x)])
        moved = self.attacked(model, x, clean, generator)
        named = self.attacked_labels(model, x, labels, generator)
        fixed = routed(model, clean, "clean")
        contrast = self.contrast_of(torch.cat([routed(model, moved, "adversarial"), fixed])).mean()
        with labelled_route(model):
            pseudo = self.named(model.encoder(named), labels).mean()
        loss = contrast + self.given.weight * pseudo
        both = fixed[: 2 * len(x)]
        return {"loss": loss, "contrast": contrast.detach(), "pseudo loss": pseudo.detach(), **health(both)}

    def sharp(self, x: Tensor) -> Tensor:
        """The high-pass view (b, 3, S, S); the radius grows with the side."""
        return high_pass(x, self.given.radius * x.shape[-1] / 32)

    def contrast_of(self, rows: Tensor) -> Tensor:
        """Loss (4b,) of the four views' unit projections (4b, d)."""
        return self.given.scale * multi_view_rows(rows, 4, self.given.temperature)

    def named(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy (b,) of pseudo-labels (b, k), mean over the k heads."""
        losses = [
            F.cross_entropy(head(features).float(), each, reduction="none")
            for head, each in zip(self.heads, labels.T, strict=True)
        ]
        return torch.stack(losses).mean(0)

    def attacked(self, model: RoutedNetwork, x: Tensor, clean: Tensor, generator: Generator) -> Tensor:
        """Images x (b, 3, S, S) moved away from three fixed views `clean` (3b, 3, S, S), which pass the clean route."""
        fixed = reference_embeddings(model, clean)

        def score(rows: Tensor) -> Tensor:
            return self.contrast_of(torch.cat([rows, fixed])).view(4, -1).sum(0)

        return climb(model, Objective((model,), model.embed, score, coupled=True), x, self.given.strength, generator)

    def attacked_labels(self, model: RoutedNetwork, x: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """Images x (b, 3, S, S) moved away from their pseudo-labels (b, k), through the third set of statistics."""
        strength = self.given.strength
        goal = Objective((model, self.heads), model.encoder, self.named, (labels,))
        settings = PGD.but(steps=strength.steps, step=strength.step)
        with labelled_route(model):
            return ascend(goal, x, Linf(strength.eps), settings, generator=generator)
