"""How a frozen encoder is judged: a linear probe chosen on held-out images, and its nearest neighbours."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import evaluating

DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
NEIGHBOURS = 20
KNN_TEMPERATURE = 0.1


@torch.no_grad()
def features_of(encoder: nn.Module, images: Tensor, device: str = "cpu", batch: int = 500) -> Tensor:
    """Features (n, d) of images (n, 3, H, W), uint8 or in [0,1], in batches, in eval mode, on the CPU."""
    found = []
    with evaluating(encoder):
        for part in images.split(batch):
            pixels = part.to(device).float() / (255 if part.dtype == torch.uint8 else 1)
            found.append(encoder(pixels).float().cpu())
    return torch.cat(found)


class LinearProbe(nn.Module):
    """A linear classifier behind a frozen encoder: images (n, 3, H, W) in [0,1] to logits (n, K).

    mean, std (d,): standardise the features; weight (K, d), bias (K,).
    """

    def __init__(self, encoder: nn.Module, mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor):
        super().__init__()
        self.encoder = encoder
        for name, value in {"mean": mean, "std": std, "weight": weight, "bias": bias}.items():
            self.register_buffer(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        return self.of_features(self.encoder(x))

    def of_features(self, features: Tensor) -> Tensor:
        """Logits (n, K) of features (n, d)."""
        return F.linear((features - self.mean) / self.std, self.weight, self.bias)


@dataclass(frozen=True)
class ProbeRecipe:
    """Logistic regression on standardised features by L-BFGS; the weight decay is chosen on held-out images."""

    decays: tuple[float, ...] = DECAYS
    steps: int = 100


def logistic(x: Tensor, labels: LongTensor, classes: int, decay: float, steps: int) -> tuple[Tensor, Tensor]:
    """Weight (K, d) and bias (K,) that minimise mean cross-entropy + decay / 2 |weight|^2 on features x (n, d)."""
    weight = torch.zeros(classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(F.linear(x, weight, bias), labels) + decay / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(objective)
    return weight.detach(), bias.detach()


def fit_probe(
    learn: tuple[Tensor, LongTensor], held: tuple[Tensor, LongTensor], recipe: ProbeRecipe = ProbeRecipe()
) -> dict[str, Tensor]:
    """A linear probe of features (n, d) and labels (n,): "mean", "std", "weight", "bias", of the best decay on `held`.

    With "accuracies" (decays,) on the held-out part, and the chosen "decay".
    """
    features, labels = learn
    if len(features) != len(labels) or len(labels.unique()) < 2:
        raise WorkbookError(
            f"A probe needs features with one label each, of two classes or more, not {len(features)} and "
            f"{len(labels)} of {len(labels.unique())}: fit it on more pictures."
        )
    classes = int(max(labels.max(), held[1].max())) + 1
    mean, std = features.mean(0), features.std(0).clamp_min(1e-6)
    x, y = (features - mean) / std, (held[0] - mean) / std
    fitted = [logistic(x, labels, classes, decay, recipe.steps) for decay in recipe.decays]
    right = [(F.linear(y, *layer).argmax(1) == held[1]).float().mean() for layer in fitted]
    best = int(torch.stack(right).argmax())
    weight, bias = fitted[best]
    found = {"mean": mean, "std": std, "weight": weight, "bias": bias, "accuracies": torch.stack(right)}
    return found | {"decay": torch.tensor(recipe.decays[best])}


def probe_from(encoder: nn.Module, fitted: dict[str, Tensor]) -> LinearProbe:
    """The classifier of images that a fitted probe and its encoder are."""
    return LinearProbe(encoder, *(fitted[name] for name in ("mean", "std", "weight", "bias"))).eval()


@torch.no_grad()
def nearest_neighbours(
    learn: Tensor, labels: LongTensor, test: Tensor, k: int = NEIGHBOURS, temperature: float = KNN_TEMPERATURE
) -> LongTensor:
    """Classes (m,) that the k nearest of `learn` (n, d) by cosine vote for, each with weight exp(cosine / temperature).

    As in DINO's evaluation (Wu et al. 2018).
    """
    unit, asked = F.normalize(learn, dim=1), F.normalize(test, dim=1)
    classes = int(labels.max()) + 1
    found = []
    for part in asked.split(1000):
        near = (part @ unit.T).topk(min(k, len(unit)), dim=1)
        votes = torch.zeros(len(part), classes)
        votes.scatter_add_(1, labels[near.indices], (near.values / temperature).exp())
        found.append(votes.argmax(1))
    return torch.cat(found)


def judged(
    encoder: nn.Module,
    images: dict[str, Tensor],
    labels: dict[str, LongTensor],
    recipe: ProbeRecipe = ProbeRecipe(),
    device: str = "cpu",
) -> dict[str, Tensor]:
    """A probe fitted on "learn", chosen on "held"; which "test" images it and the neighbours name rightly, (m,) bool.

    Gives the fitted probe and "linear", "kNN", with the collapse measures' input "features" (m, d) of the test images.
    """
    features = {name: features_of(encoder, part, device) for name, part in images.items()}
    fitted = fit_probe((features["learn"], labels["learn"]), (features["held"], labels["held"]), recipe)
    named = probe_from(nn.Identity(), fitted).of_features(features["test"]).argmax(1)
    near = nearest_neighbours(features["learn"], labels["learn"], features["test"])
    right = {"linear": named == labels["test"], "kNN": near == labels["test"]}
    return fitted | right | {"features": features["test"]}
