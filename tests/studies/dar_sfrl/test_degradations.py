import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.dar_sfrl.degradations import KINDS, Degradations
from lib.transforms.corruptions.jpeg import jpeg_rounded


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=4, side=16):
    return torch.rand(n, 3, side, side, generator=generator(5))


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_keeps_the_shape_and_all_but_none_change_the_image(name):
    x = faces()
    y = KINDS[name](x, generator())
    assert y.shape == x.shape
    assert torch.equal(x, y) == (name == "none")


def test_sizes_are_those_named():
    x = faces(40)
    for name, size in (("noise 0.05", 0.05), ("noise 0.4", 0.4)):
        assert (KINDS[name](x, generator()) - x).std().item() == pytest.approx(size, rel=0.03)
    moved = KINDS["signs 8/255"](x, generator()) - x
    assert torch.allclose(moved.abs(), torch.tensor(8 / 255), atol=1e-6)
    assert abs(moved.mean().item()) < 1e-3
    moved = KINDS["shift 8/255"](x, generator()) - x
    assert moved.flatten(1).std(1).max() < 1e-6
    assert moved.abs().max() <= 8 / 255 + 1e-6


def test_jpeg_is_that_of_the_corruptions_at_any_size():
    x = torch.rand(2, 3, 12, 10, generator=generator())
    assert torch.equal(KINDS["jpeg"](x, generator()), jpeg_rounded(x, 20))


def test_each_image_gets_its_own_kind():
    degrade, x = Degradations(("none", "blur")), faces()
    kind = torch.tensor([0, 1, 0, 1])
    y = degrade(x, kind, generator())
    assert torch.equal(y[::2], x[::2])
    assert torch.equal(y[1::2], KINDS["blur"](x[1::2], generator()))
    assert set(degrade.draw(50, generator()).tolist()) == {0, 1}
    with pytest.raises(WorkbookError, match="are among"):
        Degradations(("rain",))
