"""What a representation holds while it is learnt: verification, a linear probe, alignment and uniformity, collapse."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor, nn

from lib.attacks import PGD, Linf, in_batches, verification
from lib.attacks.objectives import cross_entropy
from lib.data.pairs import make_pairs
from lib.data.parts import people_with
from lib.errors import WorkbookError
from lib.evaluation.verification import eer
from lib.losses.contrastive import alignment, uniformity
from lib.models import Recogniser, embed_all
from lib.models.dual_norm import route
from lib.models.encoders import FaceEncoder
from lib.training.people import images_by_person


class Representation(Recogniser):
    """A frozen encoder judged by its trunk's features (n, d): what stays of pre-training, without an embedding layer.

    name: of the route that a dual batch normalisation takes; nobody knows at test time which pictures were attacked,
    so all of them go the same way.
    """

    def __init__(self, encoder: FaceEncoder, name: str = "adversarial"):
        super().__init__(f"trunk of {encoder.name}, {name} route", encoder.size, 0.0, 1.0, encoder.channels)
        self.encoder = encoder
        self.way = name

    def features(self, x: Tensor) -> Tensor:
        """Features of images (n, C, H, W) in [0,1]."""
        with route(self.encoder, self.way):
            return self.encoder.representation(x)


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised singular values of centred features (n, d) (Roy 2007); 1: all on one line.

    It has no scale, so one answer for all pictures with a little noise around it has a high one: see
    `lib.evaluation.collapse.uncentred_rank`.
    """
    values = torch.linalg.svdvals(features.double() - features.double().mean(0))
    share = values / values.sum().clamp_min(1e-12)
    return torch.special.entr(share).sum().exp().item()


def attacked(model: Recogniser, x: Tensor, y: Tensor, same: Tensor, eps: str = "8/255", steps: int = 10) -> Tensor:
    """First images x (P, C, H, W) of verification pairs after PGD within L-inf `eps`, on the model itself."""
    settings = PGD.but(steps=steps, step="2/255", keep="best")
    generator = torch.Generator().manual_seed(0)
    return in_batches(verification(model, y, same), x, Linf(eps), settings, generator=generator)


class Probe(nn.Module):
    """A linear classifier on unit features: logits (n, classes) of images."""

    def __init__(self, model: Recogniser, weight: Tensor, bias: Tensor):
        super().__init__()
        self.model = model
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, classes)."""
        return self.model.embed(x) @ self.weight.T + self.bias


def linear_probe(model: Recogniser, images: Tensor, labels: LongTensor) -> Probe:
    """Logistic regression of two or more people (labels from 0) on unit features, fitted by scikit-learn."""
    people = labels.unique().cpu()
    if len(people) < 2 or not torch.equal(people, torch.arange(len(people))):
        raise WorkbookError(
            "A probe tells at least two people apart, numbered from 0 without a gap, but "
            f"{len(people)} came, the first {people[:3].tolist()}: number them anew or add pictures to fit it on."
        )
    from sklearn.linear_model import LogisticRegression  # only here: importing it takes a second

    features = embed_all(model, images)
    fitted = LogisticRegression(C=100.0, max_iter=2000).fit(features.cpu().numpy(), labels.cpu().numpy())
    weight, bias = (torch.as_tensor(part, dtype=torch.float32) for part in (fitted.coef_, fitted.intercept_))
    if len(people) == 2:  # then scikit-learn gives one logit, that of person 1 against 0
        weight, bias = (torch.cat([torch.zeros_like(part), part]) for part in (weight, bias))
    return Probe(model, weight, bias).to(features.device).eval()


@dataclass(frozen=True, eq=False)
class Watch:
    """For `fit`: what the trunk of a `Projected` encoder knows of people it does not learn from.

    x, y (P, C, H, W) in [0,1], same (P,), people (P, 2): pairs. images (n, C, H, W), labels (n,) from 0, fit (n,) bool:
    pictures of people for the probe, and those it is fitted on. It chooses nothing, so the last weights of a run stay.
    """

    x: Tensor
    y: Tensor
    same: Tensor
    people: Tensor
    images: Tensor
    labels: LongTensor
    fit: Tensor
    eps: str = "8/255"
    steps: int = 10
    way: str = "adversarial"

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """EER and probe accuracy, clean and attacked, alignment, uniformity and effective rank."""
        found = self.judge(model.encoder if hasattr(model, "encoder") else model)
        first = found["first"][self.same]
        second = found["second"][self.same]
        return {
            "EER": float(eer(found["clean"], self.same)),
            "EER attacked": float(eer(found["attacked"], self.same)),
            "probe": found["right"].double().mean().item(),
            "probe attacked": found["right attacked"].double().mean().item(),
            "alignment of people": alignment(first, second).item(),
            "uniformity of people": uniformity(found["first"]).item(),
            "rank": effective_rank(found["first"]),
        }

    def judge(self, encoder: FaceEncoder) -> dict[str, Tensor]:
        """Of each pair its cosine "clean" and "attacked" (P,), and unit features "first" and "second" (P, d).

        Of each picture that the probe is not fitted on, whether it answers "right" and "right attacked" (m,) bool. All
        on the CPU.
        """
        trunk = Representation(encoder, self.way).to(next(encoder.parameters()).device).eval()
        first = embed_all(trunk, self.x)
        second = embed_all(trunk, self.y)
        moved = embed_all(trunk, attacked(trunk, self.x, self.y, self.same, self.eps, self.steps))
        probe = linear_probe(trunk, self.images[self.fit], self.labels[self.fit])
        tested = self.images[~self.fit]
        labels = self.labels[~self.fit]
        settings = PGD.but(steps=self.steps, step="2/255")
        generator = torch.Generator().manual_seed(0)
        hit = in_batches(cross_entropy(probe, labels), tested, Linf(self.eps), settings, generator=generator)
        found = {
            "first": first,
            "second": second,
            "clean": (first * second).sum(1),
            "attacked": (moved * second).sum(1),
        }
        right = {"right": answers(probe, tested) == labels, "right attacked": answers(probe, hit) == labels}
        return {name: value.cpu() for name, value in (found | right).items()}


def watch_of(
    images: Tensor, labels: LongTensor, pairs: int, people: int, steps: int, way: str = "adversarial"
) -> Watch:
    """A `Watch` on pictures (n, C, H, W) uint8 of people labels (n,), with `pairs` pairs, half of each kind.

    The probe names up to `people` of those with four pictures or more, fitted on every second picture of each.
    """
    pixels = images.float() / 255
    drawn = make_pairs(labels, pairs // 2, pairs // 2, seed=0)
    few = torch.isin(labels, people_with(labels, torch.arange(len(labels)), 4, people)).nonzero().flatten()
    names = labels[few].unique(return_inverse=True)[1]
    shown = images_by_person(names).turn % 2 == 0
    sides = (pixels[drawn.first], pixels[drawn.second])
    pair_people = labels[torch.stack([drawn.first, drawn.second], 1)]
    return Watch(*sides, drawn.same, pair_people, pixels[few], names, shown, steps=steps, way=way)


@torch.no_grad()
def answers(classifier: nn.Module, images: Tensor, batch: int = 256) -> Tensor:
    """Predicted classes (n,), on the CPU."""
    device = next(iter(classifier.buffers())).device
    return torch.cat([classifier(part.to(device)).argmax(1).cpu() for part in images.split(batch)])


def plateau(loss: Tensor, share: float = 0.9, window: int = 1) -> int:
    """The first step at which a loss curve (T,), averaged over `window` steps, has done `share` of its whole fall."""
    width = max(1, min(window, len(loss)))
    smooth = loss.double().unfold(0, width, 1).mean(1)
    target = torch.maximum(smooth[-1], smooth[0] - share * (smooth[0] - smooth[-1]))  # rounding may pass the last value
    return int((smooth <= target).nonzero()[0]) + width - 1
