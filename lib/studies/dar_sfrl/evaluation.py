"""How DAR-SFRL and its rivals are judged: linear probes, restoration by stage, what features tell, overlap, AUs."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import gaussian_kde
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import Recogniser, batch_size, evaluating
from lib.seeds import seeded
from lib.studies.dar_sfrl.networks import Restorer

GRID = 512  # places at which densities are compared


@torch.no_grad()
def features_of(encoder: nn.Module, images: Tensor, device: str = "cpu") -> Tensor:
    """Features (n, d) of images (n, 3, H, W), uint8 or in [0,1], in batches, in eval mode, on the CPU."""
    found = []
    with evaluating(encoder):
        for part in images.split(batch_size(None, torch.device(device)) * 4):
            pixels = part.to(device).float() / (255 if part.dtype == torch.uint8 else 1)
            found.append(encoder(pixels).float().cpu())
    return torch.cat(found)


class Probe(nn.Module):
    """A linear classifier behind a frozen encoder: images (n, 3, H, W) in [0,1] to logits (n, K).

    mean, std (d,): standardise the features; weight (K, d), bias (K,).
    """

    def __init__(self, encoder: nn.Module, mean: Tensor, std: Tensor, weight: Tensor, bias: Tensor):
        super().__init__()
        self.encoder = encoder
        for name, value in {"mean": mean, "std": std}.items():
            self.register_buffer(name, value)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images."""
        return F.linear((self.encoder(x) - self.mean) / self.std, self.weight, self.bias)


@dataclass(frozen=True)
class ProbeRecipe:
    """The source's probe: Adam at 1e-2 with a cosine over 300 epochs, batch 256, weights from N(0, 0.01).

    shuffled, standardised: the released code does neither. decay: of the weights.
    """

    epochs: int = 300
    batch: int = 256
    rate: float = 1e-2
    shuffled: bool = True
    standardised: bool = True
    decay: float = 0.0
    seed: int = 0


RELEASED_PROBE = ProbeRecipe(shuffled=False, standardised=False)


def fit_probe(
    learn: Tensor, labels: LongTensor, looks: dict[str, tuple[Tensor, LongTensor]], recipe: ProbeRecipe
) -> dict[str, Tensor]:
    """A linear classifier of features (n, d): plain tensors, with the weights of the best epoch on each look.

    looks: features and labels by name, such as "held" and "test". Gives "mean", "std" (d,), and for each look
    "<name> accuracy" (epochs,), "<name> weight" (K, d), "<name> bias" (K,) and "<name> epoch".
    """
    classes = int(labels.max()) + 1
    plain = not recipe.standardised
    mean = torch.zeros(learn.shape[1]) if plain else learn.mean(0)
    std = torch.ones(learn.shape[1]) if plain else learn.std(0).clamp_min(1e-6)
    learn, looks = (learn - mean) / std, {name: ((x - mean) / std, y) for name, (x, y) in looks.items()}
    found: dict[str, Tensor] = {"mean": mean, "std": std}
    curves: dict[str, list[float]] = {name: [] for name in looks}
    with seeded(recipe.seed):
        layer = nn.Linear(learn.shape[1], classes)
        nn.init.normal_(layer.weight, 0.0, 0.01)
        nn.init.zeros_(layer.bias)
        optimiser = torch.optim.AdamW(layer.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
        for epoch in range(recipe.epochs):
            order = torch.randperm(len(learn)) if recipe.shuffled else torch.arange(len(learn))
            for index in order.split(recipe.batch):
                optimiser.zero_grad()
                F.cross_entropy(layer(learn[index]), labels[index]).backward()
                optimiser.step()
            schedule.step()
            for name, (x, y) in looks.items():
                with torch.no_grad():
                    right = (layer(x).argmax(1) == y).float().mean().item()
                if right > max(curves[name], default=-1.0):
                    found |= {f"{name} weight": layer.weight.detach().clone(), f"{name} epoch": torch.tensor(epoch)}
                    found[f"{name} bias"] = layer.bias.detach().clone()
                curves[name].append(right)
    return found | {f"{name} accuracy": torch.tensor(curve) for name, curve in curves.items()}


def probe_from(encoder: nn.Module, fitted: dict[str, Tensor], chosen_on: str = "held") -> Probe:
    """The probe with the weights of the best epoch on that look."""
    parts = (fitted["mean"], fitted["std"], fitted[f"{chosen_on} weight"], fitted[f"{chosen_on} bias"])
    return Probe(encoder, *parts).eval()


def gain_of_choosing_on_test(fitted: dict[str, Tensor]) -> float:
    """Test accuracy of the best test epoch, as the released code reports it, less that of the best held-out epoch."""
    curve = fitted["test accuracy"]
    return (curve.max() - curve[int(fitted["held epoch"])]).item()


@torch.no_grad()
def quality_by_stage(restorer: Restorer, clean: Tensor, degraded: Tensor, batch: int = 64) -> dict[str, Tensor]:
    """PSNR in dB, SSIM and MAE of each image before restoration and after each stage: each (n, K + 1)."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    found: dict[str, list[Tensor]] = {"PSNR": [], "SSIM": [], "MAE": []}
    with evaluating(restorer):
        for target, given in zip(clean.split(batch), degraded.split(batch), strict=True):
            images = [image.clamp(0, 1) for image in (given, *restorer.unroll(given).faces)]
            errors = [(image - target).flatten(1) for image in images]
            found["PSNR"].append(torch.stack([-10 * e.square().mean(1).clamp_min(1e-12).log10() for e in errors], 1))
            found["MAE"].append(torch.stack([e.abs().mean(1) for e in errors], 1))
            values = [ssim(image, target, reduction="none", data_range=1.0).reshape(-1) for image in images]
            found["SSIM"].append(torch.stack(values, 1))
    return {name: torch.cat(parts).cpu() for name, parts in found.items()}


def linear_predictability(
    learn: Tensor, learn_labels: LongTensor, test: Tensor, test_labels: LongTensor, decay: float = 1.0
) -> Tensor:
    """Which of the test features (m, d) a standardised logistic regression, fitted on others, names rightly: (m,)."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / decay, max_iter=500))
    model.fit(learn.numpy(), learn_labels.numpy())
    return torch.from_numpy(model.predict(test.numpy()) == test_labels.numpy())


def overlap(first: Tensor, second: Tensor) -> float:
    """OVL of two samples of numbers: the integral of the smaller of their Gaussian kernel densities (Scott's width).

    1 for equal samples, 0 for none in common. A sample without spread has no density: two equal constants overlap
    fully and two different ones not at all.
    """
    one, other = (part.flatten().double().numpy() for part in (first, second))
    flat = [bool(np.ptp(part) < 1e-12) for part in (one, other)]
    if any(flat):
        return float(all(flat) and abs(one[0] - other[0]) < 1e-12)
    densities = [gaussian_kde(part) for part in (one, other)]
    reach = 4 * max(np.sqrt(density.covariance[0, 0]) for density in densities)
    places = np.linspace(min(one.min(), other.min()) - reach, max(one.max(), other.max()) + reach, GRID)
    return float(np.trapezoid(np.minimum(*(density(places) for density in densities)), places))


def pooled_overlap(clean: Tensor, attacked: Tensor, most: int = 20_000, seed: int = 0) -> float:
    """OVL of all feature values (n, d) pooled (Fig 7, our reading), of up to `most` of them drawn alike from both."""
    values = torch.stack([clean.flatten(), attacked.flatten()])
    if values.shape[1] > most:
        values = values[:, torch.randperm(values.shape[1], generator=torch.Generator().manual_seed(seed))[:most]]
    return overlap(*values)


def axis_overlap(clean: Tensor, attacked: Tensor) -> float:
    """OVL of the features (n, d) along the first principal axis of both together."""
    both = torch.cat([clean, attacked]).double()
    centred = both - both.mean(0)
    axis = torch.pca_lowrank(centred, q=1, center=False)[2][:, 0]
    scores = centred @ axis
    return overlap(scores[: len(clean)], scores[len(clean) :])


def grouping(features: Tensor, labels: LongTensor, neighbours: int = 5) -> dict[str, float]:
    """How features (n, d) group by class: "silhouette" in [-1,1], and the "kNN" accuracy with each image left out."""
    x, y = features.numpy(), labels.numpy()
    near = KNeighborsClassifier(neighbours + 1).fit(x, y).kneighbors(return_distance=False)[:, :neighbours]
    votes = torch.from_numpy(y[near]).mode(1).values
    return {"silhouette": float(silhouette_score(x, y)), "kNN": (votes == labels).double().mean().item()}


@dataclass(frozen=True)
class UnitRecipe:
    """The source's AU probe: batch normalisation and a linear layer, Adam at 1e-3 with decay 1e-4, 30 epochs."""

    epochs: int = 30
    batch: int = 256
    rate: float = 1e-3
    decay: float = 1e-4
    seed: int = 0


class UnitProbe(nn.Module):
    """Logits (n, units) of action units behind a frozen encoder."""

    def __init__(self, encoder: nn.Module, inputs: int, units: int):
        super().__init__()
        self.encoder = encoder
        self.layers = nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, units))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images (n, 3, H, W) in [0,1]."""
        return self.layers(self.encoder(x))


def fit_unit_probe(
    encoder: nn.Module,
    features: Tensor,
    present: Tensor,
    recipe: UnitRecipe = UnitRecipe(),
) -> UnitProbe:
    """An AU probe fitted on features (n, d) and present (n, units) bool, by binary cross-entropy; the last epoch's."""
    with seeded(recipe.seed):
        probe = UnitProbe(encoder, features.shape[1], present.shape[1])
        optimiser = torch.optim.AdamW(probe.layers.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs)
        probe.layers.train()
        for _ in range(recipe.epochs):
            for index in torch.randperm(len(features)).split(recipe.batch):
                if len(index) > 1:
                    optimiser.zero_grad()
                    loss = F.binary_cross_entropy_with_logits(probe.layers(features[index]), present[index].float())
                    loss.backward()
                    optimiser.step()
            schedule.step()
    return probe.eval().requires_grad_(False)


def unit_f1(logits: Tensor, present: Tensor, best_threshold: bool = False) -> Tensor:
    """Binary F1 of each action unit (units,) from logits and truth (n, units), at probability 0.5 or the best one.

    A unit that is nowhere present and nowhere seen has F1 0, as in scikit-learn.
    """
    chance, truth = logits.sigmoid().numpy(), present.numpy().astype(int)
    places = np.linspace(0.05, 0.95, 19) if best_threshold else [0.5]
    scores = [
        [f1_score(t, p > place, zero_division=0) for place in places] for t, p in zip(truth.T, chance.T, strict=True)
    ]
    return torch.tensor([max(row) for row in scores])


class PairHead(Recogniser):
    """The source's recognition head on frozen features: standardised, dropout 0.5, a linear layer; cosine decides."""

    def __init__(self, encoder: nn.Module, side: int, inputs: int, dim: int = 1024):
        super().__init__("verification head", (side, side), 0.0, 1.0)
        self.encoder = encoder
        self.layers = nn.Sequential(nn.BatchNorm1d(inputs), nn.Dropout(0.5), nn.Linear(inputs, dim))

    def features(self, x: Tensor) -> Tensor:
        """Raw embeddings (n, dim) of images."""
        return self.layers(self.encoder(x))


@dataclass(frozen=True)
class PairRecipe:
    """The source's: cosine embedding loss with margin 0.5, AdamW 1e-4 with decay 1e-5, 30 epochs, batch 100."""

    epochs: int = 30
    batch: int = 100
    rate: float = 1e-4
    decay: float = 1e-5
    margin: float = 0.5
    dim: int = 1024
    seed: int = 0


def fit_pair_head(
    encoder: nn.Module, side: int, first: Tensor, second: Tensor, same: Tensor, recipe: PairRecipe
) -> PairHead:
    """A verification head fitted on features first, second (P, d) of pairs, same (P,) bool.

    Differs from the released code, whose labels never let an impostor pair count: +1 and -1 here.
    """
    if not len(first) == len(second) == len(same):
        raise WorkbookError(f"Pairs need as many of each part, not {len(first)}, {len(second)} and {len(same)}.")
    with seeded(recipe.seed):
        model = PairHead(encoder, side, first.shape[1], recipe.dim)
        optimiser = torch.optim.AdamW(model.layers.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
        sign = same.float() * 2 - 1
        model.layers.train()
        for _ in range(recipe.epochs):
            for index in torch.randperm(len(first)).split(recipe.batch):
                if len(index) > 1:
                    optimiser.zero_grad()
                    both = model.layers(torch.cat([first[index], second[index]])).chunk(2)
                    F.cosine_embedding_loss(*both, sign[index], margin=recipe.margin).backward()
                    optimiser.step()
    return model.eval().requires_grad_(False)
