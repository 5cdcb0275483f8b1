"""PCL (Liu et al. 2023), DAR-SFRL's baseline: a face and a pose branch, a decoder, and a contrast on each."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.studies.dar_sfrl.encoders import FaceTrunk, branch
from lib.studies.dar_sfrl.losses import LossWeights, difference, mirrored_nt_xent, mixed_nt_xent, mixing
from lib.studies.dar_sfrl.training import POSE_BATCH, STEPS, head
from lib.studies.dar_sfrl.views import CROPS, WHOLE
from lib.training.batches import pixels_of
from lib.training.loop import Metrics

NOISE = 0.4  # sigma of what is added to the images to reconstruct
DECODED = (512, 256, 256, 256, 256, 128, 3)  # channels, of the published decoder at 64 pixels


class Decoder(nn.Module):
    """Features (n, d) to images (n, 3, S, S) in [-1,1] by six doublings (five at 32 pixels), as published.

    shrink: divides the channels; 1 is the published decoder.
    """

    def __init__(self, inputs: int, side: int = 64, shrink: int = 1):
        super().__init__()
        doublings = side.bit_length() - 1
        sizes = [channels // shrink for channels in DECODED[:doublings]] + [3]
        self.first = nn.Linear(inputs, sizes[0])
        layers: list[nn.Module] = []
        for inner, outer in zip(sizes, sizes[1:], strict=False):
            layers += [nn.ReLU(), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(inner, outer, 3, padding=1)]
            layers += [nn.BatchNorm2d(outer)] if outer != 3 else [nn.Tanh()]
        self.body = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Images of features; tanh though the targets lie in [0,1], as published."""
        return self.body(self.first(features)[:, :, None, None])


class PCL(nn.Module):
    """The trunk, its two branches, two heads and the decoder. `trunk` is what stays.

    width 64, hidden 0 (as wide as the feature), dim 512 and shrink 1 at 64 pixels are the published sizes.
    """

    def __init__(
        self, side: int = 64, width: int = 64, hidden: int = 0, dim: int = 512, shrink: int = 1, epoch: int = 100
    ):
        super().__init__()
        self.trunk = FaceTrunk(width)
        inputs = self.trunk.features_at(side)
        self.face, self.pose = branch(2 * width), branch(2 * width)
        self.face_head = head(inputs, hidden or inputs, dim)
        self.pose_head = head(inputs, hidden or inputs, dim)
        self.decoder = Decoder(inputs, side, shrink)
        self.weights = LossWeights(2, epoch)
        self.register_buffer("turn", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Face and pose features F_f and F_p (n, d) of images (n, 3, S, S) in [0,1]."""
        found = self.trunk.map(x)
        return self.face(found).flatten(1), self.pose(found).flatten(1)


@dataclass(frozen=True, eq=False)
class Disentangled:
    """PCL's losses for `fit`: three optimiser steps an iteration, of reconstruction, face contrast and pose contrast.

    images (n, 3, S, S), uint8 or in [0,1]. alternating: take the three in turn, as published; else their sum.
    """

    images: Tensor
    pose_negatives: int = 100
    alternating: bool = True

    def __call__(self, model: PCL, index: LongTensor, generator: Generator) -> Metrics:
        """The loss on the images `index` (b,), and its parts."""
        x = pixels_of(self.images, index, model)
        steps = (STEPS[int(model.turn) % 3],) if self.alternating else STEPS
        model.turn += 1
        found: Metrics = {}
        if "restoration" in steps:
            found |= self.reconstruction(model, x, generator)
        if "face" in steps:
            found["face"] = self.face(model, x, generator)
        if "noise" in steps:
            found["pose"] = self.pose(model, x[:POSE_BATCH], generator)
        weights = dict(zip(("face", "pose"), model.weights.weights, strict=True))
        loss = sum(weights.get(name, 1.0) * value for name, value in found.items())
        nothing = loss.new_tensor(torch.nan)
        taken = [found.get(name, nothing).detach().float() for name in ("face", "pose")]
        model.weights.note(torch.stack(taken))
        return {"loss": loss} | {name: value.detach() for name, value in found.items()}

    def reconstruction(self, model: PCL, x: Tensor, generator: Generator) -> Metrics:
        """L1 of the four images decoded from the features of a picture and its mirror image, and their DiffLoss.

        A target is the image that gave the pose feature.
        """
        clean = (x, x.flip(3))
        noise = torch.randn(2, *x.shape, generator=generator).to(x.device)
        faces, poses = zip(
            *(model(image + NOISE * part) for image, part in zip(clean, noise, strict=True)), strict=True
        )
        joined = [F.normalize(face + pose, dim=1) for face in faces for pose in poses]
        decoded = model.decoder(torch.cat(joined)).chunk(4)
        errors = [(image - target).abs().mean() for image, target in zip(decoded, clean * 2, strict=True)]
        apart = [difference(face, pose) for face, pose in zip(faces, poses, strict=True)]
        return {"reconstruction": torch.stack(errors).sum(), "difference": torch.stack(apart).sum()}

    def face(self, model: PCL, x: Tensor, generator: Generator) -> Tensor:
        """NT-Xent of two crops of each face, with interpolated negatives."""
        both = model.face_head(model(CROPS.pair(x, generator))[0])
        return mixed_nt_xent(both, mixing(len(both), len(both) - 2, generator))

    def pose(self, model: PCL, x: Tensor, generator: Generator) -> Tensor:
        """NT-Xent of two views of each face against views of its mirror image."""
        count = self.pose_negatives
        views = torch.cat([WHOLE.pair(x, generator), WHOLE(x.flip(3).repeat_interleave(count, 0), generator)])
        features = model.pose_head(model(views)[1])
        own, others = features.split([2 * len(x), count * len(x)])
        return mirrored_nt_xent(own, others.view(len(x), count, -1), mixing(len(x), count, generator))
