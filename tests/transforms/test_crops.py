import pytest
import torch

from lib.transforms.crops import crop_flip


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def slowly(x, draw, pad):
    """The same numbers in the same order; pixels one by one."""
    n, channels, height, width = x.shape
    top, left = (torch.randint(2 * pad + 1, (n, 1), generator=draw) for _ in range(2))
    flip = torch.rand(n, 1, generator=draw) < 0.5
    out = torch.zeros_like(x)
    for i in range(n):
        for row in range(height):
            for column in range(width):
                seen = width - 1 - column if flip[i] else column
                r, c = row + int(top[i]) - pad, seen + int(left[i]) - pad
                if 0 <= r < height and 0 <= c < width:
                    out[i, :, row, column] = x[i, :, r, c]
    return out


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("pad", [0, 2, 4])
def test_crops_equal_the_slow_loop(channels, pad):
    x = torch.rand(12, channels, 5, 7, generator=generator(1))
    found = crop_flip(x, generator(2), pad)
    assert torch.equal(found, slowly(x, generator(2), pad))
    assert found.stride() == x.stride()  # plain memory, which gray images need on a CPU


def test_places_and_flips_are_drawn_evenly():
    """One bright pixel in the middle tells where the crop was, one beside it whether it was mirrored."""
    n, pad = 20_000, 1
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1, 1], x[0, 0, 1, 2] = 1.0, 0.5
    out = crop_flip(x.expand(n, -1, -1, -1), generator(), pad)
    bright, dim = ((out[:, 0] == value).flatten(1).int().argmax(1) for value in (1.0, 0.5))
    mirrored = dim < bright
    assert mirrored.float().mean() == pytest.approx(0.5, abs=0.015)
    for part in (mirrored, ~mirrored):
        shares = bright[part].bincount(minlength=16) / part.sum()
        assert (shares > 0).sum() == 9
        assert (shares[shares > 0] - 1 / 9).abs().max() < 0.015


def test_the_generator_alone_decides():
    x = torch.rand(6, 3, 8, 8, generator=generator(1))
    torch.manual_seed(1)
    one = crop_flip(x, generator(3))
    torch.manual_seed(2)
    assert torch.equal(one, crop_flip(x, generator(3)))
    assert not torch.equal(one, crop_flip(x, generator(4)))
