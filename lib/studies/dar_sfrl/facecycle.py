"""FaceCycle (Chang et al. 2021): a face is turned neutral and back, then a neutral face is turned average and back.

The motion stage swaps the neutral faces of a person's two pictures. The identity stage starts from its end and leaves
it as it is, as the released code does. Differs from the source: its frozen VGG-19 is a frozen random network, since
VGG's weights cannot be had everywhere; the identity code is compared by cosine, with a margin that is truly applied.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl.encoders import FaceTrunk, ResidualBlock
from lib.training.batches import pixels_of
from lib.training.loop import Metrics, Recipe, Trained, fit
from lib.training.people import ImagesByPerson, images_by_person, random_below

WEIGHTS = {"perceptual": 0.01, "cycle": 1.0, "plain": 1.0, "warped": 1.0, "direct": 1.5, "symmetry": 1.5, "SSIM": 5.0}
MARGIN = 0.2  # by which a person's two codes should be nearer than those of two people
FLOW = 16  # side of the flow field


def warp(x: Tensor, flow: Tensor) -> Tensor:
    """Maps (n, c, H, W) read where a flow (n, 2, h, w), in half sides, points; its first channel is x."""
    n, _, height, width = x.shape
    eye = torch.eye(2, 3, device=x.device, dtype=x.dtype).expand(n, -1, -1)
    grid = F.affine_grid(eye, [n, 1, height, width], align_corners=False)
    moved = F.interpolate(flow, (height, width), mode="bilinear").permute(0, 2, 3, 1)
    return F.grid_sample(x, grid + moved, padding_mode="border", align_corners=False)


def backward_flow(flow: Tensor) -> Tensor:
    """The way back: minus the flow, warped by itself."""
    return -warp(flow, flow)


def gram(features: Tensor) -> Tensor:
    """Gram matrices (n, c, c) of maps, per place and channel."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / flat[0].numel()


class FaceCycle(nn.Module):
    """The trunk with its code, the flow network, the frozen features and the generator; `trunk` is what stays."""

    def __init__(self, side: int = 64, width: int = 64, inner: int = 64, blocks: int = 2, dim: int = 256):
        super().__init__()
        self.trunk = FaceTrunk(width)
        self.code = nn.Linear(self.trunk.features_at(side), dim)
        sizes = (dim, 128, 64, 32, 16)
        layers: list[nn.Module] = []
        for one, other in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(one, other, 3, padding=1), nn.LeakyReLU(0.1)]
        self.motion = nn.Sequential(*layers, nn.Conv2d(sizes[-1], 2, 3, padding=1), nn.Tanh())
        with seeded(0):
            first, second = nn.Conv2d(3, inner, 3, padding=1), nn.Conv2d(inner, inner, 3, padding=1)
            self.frozen = nn.Sequential(first, nn.ReLU(), second, nn.ReLU()).requires_grad_(False)
        self.generator = nn.Sequential(
            *(ResidualBlock(inner) for _ in range(blocks)), nn.Conv2d(inner, 3, 3, padding=1)
        )

    def flow(self, x: Tensor) -> Tensor:
        """The flow (n, 2, 16, 16) that turns faces neutral, within a tenth of a side at the start of training."""
        code = torch.tanh(self.code(self.trunk(x)))
        return 0.2 * self.motion(code[:, :, None, None])

    def draw(self, x: Tensor, flow: Tensor | None = None) -> Tensor:
        """Images in [0,1] of the frozen features of `x`, moved by a flow."""
        features = self.frozen(2 * x - 1)
        return torch.sigmoid(self.generator(features if flow is None else warp(features, flow)))


@dataclass(frozen=True, eq=False)
class MotionCycle:
    """FaceCycle's motion loss for `fit`: images (n, 3, S, S), uint8 or in [0,1]; people (n,), two pictures each.

    A batch is half first pictures, half another picture of the same person.
    """

    images: Tensor
    people: LongTensor

    def __post_init__(self) -> None:
        """Refuse people of one picture alone."""
        if len(self.people) != len(self.images) or int(self.album.count.min()) < 2:
            raise WorkbookError("FaceCycle learns from two pictures of a person: give only people with two or more.")

    @cached_property
    def album(self) -> ImagesByPerson:
        """The pictures by person."""
        return images_by_person(self.people)

    def partners(self, index: LongTensor, generator: Generator) -> LongTensor:
        """Another picture of the same person for each of `index` (b,)."""
        person = self.album.person[index]
        own = self.album.turn[index]
        turn = (own + 1 + random_below(self.album.count[person] - 1, generator)) % self.album.count[person]
        return self.album.order[self.album.start[person] + turn]

    def __call__(self, model: FaceCycle, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on half of the images `index` (b,) with a partner each, and its parts."""
        first = index[: max(1, len(index) // 2)]
        x = torch.cat([pixels_of(self.images, part, model) for part in (first, self.partners(first, generator))])
        flow = model.flow(x)
        back = backward_flow(flow)
        neutral = model.draw(x, flow)
        swapped = neutral.roll(len(first), 0)  # the partner's neutral face
        again = model.draw(swapped, back)
        parts = {
            "perceptual": (gram(model.frozen(2 * again - 1)) - gram(model.frozen(2 * x - 1))).square().mean(),
            "cycle": (again - x).abs().mean(),
            "plain": (model.draw(x) - x).abs().mean(),
            "warped": (warp(swapped, back) - x).abs().mean(),
            "direct": (model.draw(neutral, back) - x).abs().mean(),
            "symmetry": (neutral - neutral.flip(3)).abs().mean(),
            "SSIM": 1 - similarity(again, x),
        }
        loss = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
        return {"loss": loss} | {name: value.detach() for name, value in parts.items()}


class Renormalised(nn.Module):
    """SPADE (Park et al. 2019): maps lose their mean and size, and take scale and shift from another face's maps."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels)
        self.scale, self.shift = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """x and style (n, c, H, W) to the same shape."""
        return self.norm(x) * (1 + self.scale(style)) + self.shift(style)


class FaceIdentity(nn.Module):
    """The identity stage on top of a trained `motion` part, which stays as it is; `trunk` is the identity encoder.

    forth: from a neutral face to the average one; back: from the average one to the face that a code names.
    """

    def __init__(self, motion: FaceCycle, side: int = 64, inner: int = 64, dim: int = 256):
        super().__init__()
        self.motion = motion.requires_grad_(False)
        self.trunk = FaceTrunk(motion.trunk.width)
        self.code = nn.Linear(self.trunk.features_at(side), dim)
        self.spread = nn.Linear(dim, inner)
        self.forth, self.back = Renormalised(inner), Renormalised(inner)
        self.paint = nn.Sequential(ResidualBlock(inner), nn.Conv2d(inner, 3, 3, padding=1))

    def codes(self, x: Tensor) -> Tensor:
        """Identity codes (n, dim) of faces in [0,1]."""
        return torch.tanh(self.code(self.trunk(x)))

    def look(self, x: Tensor) -> Tensor:
        """The motion part's frozen features (n, inner, H, W)."""
        return self.motion.frozen(2 * x - 1)

    def remove(self, neutral: Tensor, mean: Tensor) -> Tensor:
        """Neutral faces without their identity: their maps renormalised to those of the mean face (1, 3, H, W)."""
        style = self.look(mean).expand(len(neutral), -1, -1, -1)
        return torch.sigmoid(self.paint(self.forth(self.look(neutral), style)))

    def restore(self, average: Tensor, codes: Tensor) -> Tensor:
        """Average faces with the identity of codes (n, dim)."""
        features = self.look(average)
        style = self.spread(codes)[:, :, None, None] * features
        return torch.sigmoid(self.paint(self.back(features, style)))


class IdentityCycle(MotionCycle):
    """The loss of a `FaceIdentity` for `fit`, on the same pictures and people as the motion stage."""

    def __call__(self, model: FaceIdentity, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on half of the images `index` (b,) with a partner each, and its parts."""
        first = index[: max(1, len(index) // 2)]
        x = torch.cat([pixels_of(self.images, part, model) for part in (first, self.partners(first, generator))])
        with torch.no_grad():
            neutral = model.motion.draw(x, model.motion.flow(x))
        mean = neutral.mean(0, keepdim=True)
        codes = model.codes(neutral)
        average = model.remove(neutral, mean)
        again = model.restore(average, codes)
        swapped = model.restore(average.roll(len(first), 0), codes)
        parts = {
            "average": (average - mean).abs().mean(),
            "identity": (again - neutral).abs().mean(),
            "swapped": (swapped - neutral).abs().mean(),
            "margin": identity_margin(codes, self.album.person[first].to(x.device)),
        }
        return {"loss": torch.stack(list(parts.values())).sum()} | {name: part.detach() for name, part in parts.items()}


def identity_margin(codes: Tensor, people: LongTensor) -> Tensor:
    """How far a person's two codes fail to be nearer, by `MARGIN` in cosine, than any two people's.

    codes (2n, d): rows i and i + n are of the person people[i]; zero where the batch holds one person alone.
    """
    one, other = F.normalize(codes, dim=1).chunk(2)
    cosine = one @ other.T
    apart = people[:, None] != people
    gap = F.relu(cosine - cosine.diagonal()[:, None] + MARGIN)
    return (gap * apart).sum() / apart.sum().clamp_min(1)


def train_facecycle(loss: MotionCycle, model: FaceCycle, recipe: Recipe, again: Recipe, device: str = "cpu") -> Trained:
    """The motion stage by `recipe`, then the identity stage by `again`: the weights of both trunks, histories."""
    model = model.to(device)
    history = fit(model, loss, len(loss.images), recipe, label="FaceCycle, motion")
    weights = {name: value.clone() for name, value in model.trunk.state_dict().items()}
    inner = model.frozen[0].out_channels
    side = loss.images.shape[-1]
    with seeded(again.seed):
        identity = FaceIdentity(model, side, inner, model.code.out_features).to(device)
    second = IdentityCycle(loss.images, loss.people)
    found = fit(identity, second, len(loss.images), again, label="FaceCycle, identity")
    return {"weights": weights, "identity": identity.trunk.state_dict(), "history": history, "identity history": found}


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """The mean SSIM of images (n, 3, H, W) in [0,1], differentiable."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    return ssim(one, other, data_range=1.0)
