"""DiffPure (Nie et al. 2022) at a small scale: noise up to a time t, then a few steps of a diffusion model back.

The U-net and the noise schedule are those of the library diffusers, which is imported only where a network is made.
Everything is differentiable, so that an attack may go through the sampler exactly; `lib.studies.dar_sfrl.attacks`
has the straight-through gradient (BPDA) for comparison.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.models.base import batch_size, evaluating
from lib.seeds import seeded
from lib.training.batches import pixels_of
from lib.training.loop import Metrics, Recipe, Trained, fit

TIMES = 1000
START, END = 1e-4, 2e-2  # betas


def signal_share() -> Tensor:
    """alpha-bar (1000,): the share of a picture's variance that is left at each time."""
    return torch.cumprod(1 - torch.linspace(START, END, TIMES), dim=0)


@dataclass(frozen=True)
class Diffusion:
    """A U-net of diffusers without attention, one layer a block; widths (16, 32, 64) has 0.6 million weights."""

    side: int = 32
    widths: tuple[int, ...] = (16, 32, 64)
    channels: int = 3

    def network(self, seed: int = 0) -> nn.Module:
        """A new U-net that tells the noise in pictures in [-1,1]."""
        from diffusers import UNet2DModel

        down, up = (f"{way}Block2D" for way in ("Down", "Up"))
        with seeded(seed):
            return UNet2DModel(
                sample_size=self.side,
                in_channels=self.channels,
                out_channels=self.channels,
                layers_per_block=1,
                block_out_channels=self.widths,
                down_block_types=(down,) * len(self.widths),
                up_block_types=(up,) * len(self.widths),
                norm_num_groups=min(8, self.widths[0]),
                add_attention=False,
            )

    def loaded(self, trained: Trained) -> nn.Module:
        """The trained U-net, frozen, in eval mode."""
        model = self.network()
        model.load_state_dict(trained["weights"])
        return model.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class NoisePrediction:
    """The loss of a diffusion model on images (n, C, S, S): mean squared error of the told noise.

    latest: times above it are never used, and therefore not learnt.
    """

    images: Tensor
    latest: int = 200

    def __call__(self, model: nn.Module, index: LongTensor, generator: Generator) -> Metrics:
        """{"loss"} on the images `index` (b,)."""
        x = 2 * pixels_of(self.images, index, model) - 1
        time = torch.randint(self.latest, (len(x),), generator=generator).to(x.device)
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        share = signal_share().to(x.device)[time].view(-1, 1, 1, 1)
        told = model(share.sqrt() * x + (1 - share).sqrt() * noise, time).sample
        return {"loss": (told.float() - noise).square().mean()}


def train_diffusion(
    images: Tensor, diffusion: Diffusion, recipe: Recipe, latest: int = 200, device: str = "cpu"
) -> Trained:
    """A new diffusion model of images (n, C, S, S): weights and history."""
    model = diffusion.network(recipe.seed).to(device)
    history = fit(model, NoisePrediction(images, latest), len(images), recipe, label="training the diffusion model")
    return {"weights": model.state_dict(), "history": history}


class DiffPure(nn.Module):
    """Images (n, C, H, W) in [0,1] to purified ones: noise to time t*, then `steps` of respaced DDPM (eta 1) back.

    Images larger than the model's are shrunk before and enlarged after. Draws from torch's generator.
    """

    def __init__(self, network: nn.Module, time: int = 50, steps: int = 5, side: int = 32):
        super().__init__()
        if not 1 <= steps <= time < TIMES:
            raise WorkbookError(f"Purification needs 1 <= steps <= time < {TIMES}, not {steps} and {time}: change it.")
        self.network, self.time, self.steps, self.side = network, time, steps, side
        self.register_buffer("share", signal_share(), persistent=False)

    @property
    def times(self) -> list[int]:
        """The times of the way back, from t* down, evenly spaced."""
        return torch.linspace(self.time, 0, self.steps + 1).round().long().tolist()[:-1]

    def forward(self, x: Tensor) -> Tensor:
        """Purified images in [0,1]."""
        small = x if x.shape[2] == self.side else F.interpolate(x, self.side, mode="bilinear", antialias=True)
        start = self.share[self.time]
        state = start.sqrt() * (2 * small - 1) + (1 - start).sqrt() * torch.randn_like(small)
        for now, then in zip(self.times, [*self.times[1:], -1], strict=True):
            state = self.back(state, now, then)
        clean = ((state + 1) / 2).clamp(0, 1)
        return clean if x.shape[2] == self.side else F.interpolate(clean, x.shape[2], mode="bilinear")

    def back(self, state: Tensor, now: int, then: int) -> Tensor:
        """One step of DDPM from time `now` to `then` (-1: the clean picture): the posterior's mean and a draw."""
        share = self.share[now]
        earlier = self.share[then] if then >= 0 else torch.ones_like(share)
        told = self.network(state, now).sample
        clean = (state - (1 - share).sqrt() * told) / share.sqrt()
        beta = 1 - share / earlier
        mean = (earlier.sqrt() * beta * clean + (share / earlier).sqrt() * (1 - earlier) * state) / (1 - share)
        if then < 0:
            return mean
        return mean + (beta * (1 - earlier) / (1 - share)).sqrt() * torch.randn_like(state)


class Purified(nn.Module):
    """A classifier behind a purifier: logits (n, K) of images in [0,1], another draw at each call."""

    def __init__(self, purify: nn.Module, classifier: nn.Module):
        super().__init__()
        self.purify, self.classifier = purify, classifier

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.classifier(self.purify(x))


@torch.no_grad()
def draws_right(model: nn.Module, x: Tensor, labels: LongTensor, draws: int = 8, seed: int = 0) -> Tensor:
    """Which images (n,) are right in each of `draws` purifications: (draws, n) bool; mean and worst follow from it."""
    device = next(model.parameters()).device
    found = []
    with seeded(seed), evaluating(model):
        for _ in range(draws):
            parts = [model(part.to(device)).argmax(1).cpu() for part in x.split(batch_size(None, device))]
            found.append(torch.cat(parts) == labels.cpu())
    return torch.stack(found)


def sweep_times(
    network: nn.Module, classifier: nn.Module, x: Tensor, labels: LongTensor, times: tuple[int, ...], steps: int = 5
) -> dict[int, float]:
    """Accuracy on held-out images at each purification time, the mean of four draws."""
    side = x.shape[2]
    models = {time: Purified(DiffPure(network, time, min(steps, time), side), classifier) for time in times}
    return {time: draws_right(model, x, labels, 4).double().mean().item() for time, model in models.items()}
