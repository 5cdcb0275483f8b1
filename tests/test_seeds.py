import pytest
import torch

from lib.seeds import seeded


def test_seeded_gives_the_generator_back():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    with seeded(0):
        first = torch.rand(2)
    assert torch.equal(torch.rand(4), wanted)
    with seeded(0):
        assert torch.equal(torch.rand(2), first)
    before = torch.get_rng_state()
    with pytest.raises(ValueError), seeded(1):  # noqa: PT012
        torch.rand(1)
        raise ValueError
    assert torch.equal(torch.get_rng_state(), before)
