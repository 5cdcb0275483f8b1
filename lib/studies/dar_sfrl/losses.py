"""Losses of DAR-SFRL (eqs 12 to 19), as pure functions of tensors, and its dynamic weight averaging.

Negatives are interpolated as in PCL: each negative is mixed with another one before it is compared. The released code
builds all mixes, a tensor (2n, 2n - 2, d); here the cosine with a mix comes from the Gram matrix alone, exactly.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, LongTensor, Tensor, nn

from lib.errors import WorkbookError
from lib.losses.contrastive import nt_xent_rows, supervised_contrastive

TEMPERATURE = 0.07
BETA = 1.6  # of the symmetric Beta distribution of the shares


def consistency(faces: list[Tensor], clean: Tensor, error: str = "mean") -> Tensor:
    """L_mae (eq. 12) of each stage's face (n, 3, H, W), added up.

    error: the "mean" absolute error, as its name and the released code have it, or the L1 "norm" of an image, which eq.
    12 prints and which is 3 H W times as large.
    """
    found = torch.stack([(face - clean).abs().mean() for face in faces]).sum()
    return found * clean[0].numel() if error == "norm" else found


def mean_square_cosine(faces: Tensor, noises: Tensor) -> Tensor:
    """L_orth (eq. 14), our reading of it: the mean squared cosine of features f and n (b, d) of the same image.

    The scan lost what stands inside the norm. Unit features, or the loss would fall with their lengths.
    """
    return F.cosine_similarity(faces, noises, dim=1).square().mean()


def difference(faces: Tensor, noises: Tensor) -> Tensor:
    """The released DiffLoss of features (b, d): the mean square of the cross-correlation f^T n (d, d).

    Features lose their mean over the batch, then each row is divided by its length, through which no gradient flows.
    """
    first, second = (_centred_rows(features) for features in (faces, noises))
    return (first.T @ second).square().mean()


def _centred_rows(features: Tensor) -> Tensor:
    centred = features - features.mean(0, keepdim=True)
    return centred / (centred.norm(dim=1, keepdim=True).detach() + 1e-6)


class Mixing(NamedTuple):
    """How negatives are mixed: negative i becomes share[r, i] of itself and the rest of negative order[i].

    share (rows, m) in [0,1], a draw for each row's negative; order (m,), the same for all rows, as in the source.
    """

    share: Tensor
    order: LongTensor


def mixing(rows: int, negatives: int, generator: Generator, beta: float = BETA) -> Mixing:
    """A draw of `Mixing`: shares from Beta(beta, beta) by Ulrich's method (1984), order a random permutation."""
    if beta <= 0.5:
        raise WorkbookError(f"Shares are drawn from a Beta distribution above 0.5, not {beta}: raise it.")
    radius = torch.rand(rows, negatives, generator=generator) ** (2 / (2 * beta - 1))
    angle = 2 * math.pi * torch.rand(rows, negatives, generator=generator)
    share = (1 + (1 - radius).clamp_min(0).sqrt() * angle.cos()) / 2
    return Mixing(share, torch.randperm(negatives, generator=generator))


def negatives_of(rows: int) -> LongTensor:
    """For each of 2n rows, the others that are neither itself nor its partner (i and i + n): (2n, 2n - 2)."""
    picture = torch.arange(rows) % (rows // 2)
    apart = picture[None, :] != picture[:, None]
    return torch.arange(rows).expand(rows, rows)[apart].view(rows, rows - 2)


def mixed_nt_xent(both: Tensor, mixes: Mixing, temperature: float = TEMPERATURE) -> Tensor:
    """L_face (eqs 15, 16) with interpolated negatives: NT-Xent of raw features (2n, d), rows i and i + n a picture.

    mixes: of 2n rows with 2n - 2 negatives. Memory of order n^2. In float32 whatever the autocast.
    """
    rows = len(both)
    with torch.autocast(both.device.type, enabled=False):
        gram = both.float() @ both.float().T
        one = negatives_of(rows).to(both.device)
        other = one[:, mixes.order.to(both.device)]
        own = torch.arange(rows, device=both.device)[:, None]
        square = gram.diagonal()
        mixed = _mixed_cosine(gram[own, one], gram[own, other], gram[one, other], square[one], square[other], mixes)
        length = square.clamp_min(1e-12).sqrt()
        partner = own.squeeze(1).roll(rows // 2)
        positive = gram[own.squeeze(1), partner] / (length * length[partner])
        logits = torch.cat([positive[:, None], mixed / length[:, None]], dim=1) / temperature
        return F.cross_entropy(logits, torch.zeros(rows, dtype=torch.long, device=both.device))


def mirrored_nt_xent(both: Tensor, negatives: Tensor, mixes: Mixing, temperature: float = TEMPERATURE) -> Tensor:
    """The released L_noise, PCL's pose branch: each picture against negatives of its own, interpolated.

    both: raw features (2n, d), rows i and i + n a picture; negatives (n, m, d); mixes: of n rows, m negatives.
    """
    with torch.autocast(both.device.type, enabled=False):
        unit, bank = F.normalize(both.float(), dim=1), negatives.float()
        order = mixes.order.to(both.device)
        products = torch.stack([torch.einsum("nd,nmd->nm", half, bank) for half in unit.chunk(2)])
        square, across = bank.square().sum(2), (bank * bank[:, order]).sum(2)
        mixed = _mixed_cosine(products, products[:, :, order], across, square, square[:, order], mixes)
        positive = (unit.chunk(2)[0] * unit.chunk(2)[1]).sum(1)
        logits = torch.cat([positive.repeat(2)[:, None], mixed.flatten(0, 1)], dim=1) / temperature
        return F.cross_entropy(logits, torch.zeros(len(both), dtype=torch.long, device=both.device))


def _mixed_cosine(
    one: Tensor, other: Tensor, across: Tensor, square_one: Tensor, square_other: Tensor, mixes: Mixing
) -> Tensor:
    """Inner products with the unit mixes of two negatives, from the products with each and those between them."""
    share = mixes.share.to(one.device)
    rest = 1 - share
    length = share.square() * square_one + rest.square() * square_other + 2 * share * rest * across
    return (share * one + rest * other) / length.clamp_min(1e-12).sqrt()


def nt_xent(both: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """NT-Xent of raw features (2n, d), rows i and i + n two views of a picture."""
    return nt_xent_rows(F.normalize(both.float(), dim=1), temperature).mean()


def noise_contrast(both: Tensor, kinds: LongTensor, temperature: float = TEMPERATURE) -> Tensor:
    """L_noise (eqs 17, 18) of raw residual features (2n, d): positives share the degradation `kinds` (n,)."""
    return supervised_contrastive(F.normalize(both.float(), dim=1), kinds, temperature)


class LossWeights(nn.Module):
    """Dynamic weight averaging (Liu et al. 2019): losses that fall more slowly than the others weigh more.

    weight_i = count * softmax(r_i / T)_i, r_i the last epoch's mean loss over that of the epoch before; 1 until two
    epochs are over. The sums live in buffers, so that a checkpoint holds them. every: steps of an epoch.
    """

    def __init__(self, count: int = 2, every: int = 100, temperature: float = 2.0):
        super().__init__()
        self.every, self.temperature = every, temperature
        self.register_buffer("sums", torch.zeros(count))
        self.register_buffer("seen", torch.zeros(count, dtype=torch.long))
        self.register_buffer("last", torch.full((count,), torch.nan))
        self.register_buffer("before", torch.full((count,), torch.nan))

    @property
    def weights(self) -> Tensor:
        """The weights (count,), summing to their count."""
        if self.before.isnan().any():
            return torch.ones_like(self.sums)
        return len(self.sums) * torch.softmax(self.last / self.before / self.temperature, dim=0)

    @torch.no_grad()
    def note(self, losses: Tensor) -> None:
        """Add the losses (count,) of a step, NaN where one was not taken.

        When each has been taken `every` times, the means take the place of the last epoch's.
        """
        self.sums += losses.nan_to_num(0.0)
        self.seen += ~losses.isnan()
        if self.seen.min() >= self.every:
            self.before.copy_(self.last)
            self.last.copy_(self.sums / self.seen)
            self.sums.zero_()
            self.seen.zero_()
