"""Blurs. Images (n, 3, H, W) in [0,1]."""

import numpy as np
import torch
from torch import Generator, LongTensor, Tensor

from lib.transforms.corruptions.filters import along, correlate, enlarge, gaussian, uniform, whole


def gaussian_blur(x: Tensor, sigma: float, generator: Generator) -> Tensor:
    """A Gaussian of `sigma` pixels."""
    return gaussian(x, sigma)


def defocus(x: Tensor, constants: tuple[float, float], generator: Generator) -> Tensor:
    """A disk; constants: its radius and the sigma that smooths its rim, in pixels."""
    return correlate(x, disk(*constants), "mirror")


def disk(radius: float, rim: float) -> Tensor:
    """The kernel of a lens out of focus, (k, k), sum 1: a disk blurred by a Gaussian cut at 3 (5 if large) pixels."""
    reach = 8 if radius <= 8 else int(radius)
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    flat = (place[:, None] ** 2 + place**2 <= radius**2).double()
    smooth = gaussian((flat / flat.sum())[None, None], rim, "mirror", (1 if radius <= 8 else 2) / rim)[0, 0]
    used = int((smooth.sum(0) > 1e-12).nonzero()[0])
    return smooth[used : len(smooth) - used, used : len(smooth) - used]


def motion(x: Tensor, constants: tuple[int, float], generator: Generator) -> Tensor:
    """Motion within 45 degrees of the horizontal; constants: radius and sigma in pixels."""
    return along(x, *constants, uniform((len(x),), (-45, 45), generator, x))


def zoom(x: Tensor, constants: tuple[float, float], generator: Generator) -> Tensor:
    """The mean of the picture and its enlargements; constants: the end of the factors from 1 and their step."""
    factors = np.arange(1, *constants)
    return (x + sum(enlarge(x, factor) for factor in factors)) / (len(factors) + 1)


def glass(x: Tensor, constants: tuple[float, int, int], generator: Generator) -> Tensor:
    """Blur, pixels displaced at random, blur; constants: sigma, reach in pixels, and how often.

    The published code means to swap neighbours. But `a[p], a[q] = a[q], a[p]` on rows of a numpy array copies q to p
    and then p, which now is q, back to q: nothing is swapped, q is doubled and p is lost, here as there.
    """
    sigma, reach, times = constants
    n, _, height, width = x.shape
    x = whole(gaussian(x, sigma))
    for _ in range(times):
        moves = displacements(n, height, width, reach, generator).to(x.device)
        x = x.flatten(2).gather(2, sources(moves, reach)[:, None].expand(-1, 3, -1)).view_as(x)
    return gaussian(x, sigma)


def displacements(n: int, height: int, width: int, reach: int, generator: Generator) -> LongTensor:
    """From where each pixel is read, (n, 2, H, W): rows down and columns across, from -reach to reach - 1.

    A rim of `reach` pixels (one more at the top and on the left) stays where it is.
    """
    shape = (n, 2, height, width)
    moves = torch.randint(-reach, reach, shape, generator=generator, device=generator.device)
    inside = torch.zeros(height, width, dtype=torch.bool, device=generator.device)
    inside[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1] = True
    return moves * inside


def sources(moves: LongTensor, reach: int) -> LongTensor:
    """Of each pixel the one whose value it ends with, (n, H W), when they are copied one after the other.

    The published loop runs from the last pixel to the first. A pixel that reads one before it finds the original
    there; one that reads a later pixel finds what that has become: a chain, followed by doubling its length.
    """
    height, width = moves.shape[2:]
    places = torch.arange(height * width, device=moves.device)
    read = places + (moves[:, 0] * width + moves[:, 1]).flatten(1)
    if reach == 1:
        return read
    end = torch.where(read > places, read, places)
    for _ in range((height * width).bit_length()):
        further = end.gather(1, end)
        if torch.equal(further, end):
            break
        end = further
    return read.gather(1, end)
