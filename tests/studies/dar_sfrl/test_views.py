import pytest
import torch
import torch.nn.functional as F

from lib.errors import WorkbookError
from lib.studies.dar_sfrl.views import CROPS, GRAY, WHOLE, FaceViews, edges
from lib.transforms.views import Views

PLAIN = Views(crop=(1.0, 1.0), flip=0.0, jitter_p=0.0, gray=0.0, blur=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_edges_are_central_differences_of_the_luma():
    x = torch.rand(2, 3, 7, 7, generator=generator()) / 2
    luma = (x * torch.tensor(GRAY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    kernel = torch.tensor([[0.0, -1, 0], [0, 0, 0], [0, 1, 0]]).view(1, 1, 3, 3)
    down, across = (F.conv2d(luma, k, padding=1) for k in (kernel, kernel.transpose(2, 3)))
    assert torch.allclose(edges(x), (down**2 + across**2 + 1e-6).sqrt().expand_as(x), atol=1e-6)


def test_two_crops_come_from_different_quadrants():
    ramp = torch.linspace(0, 1, 40)
    x = torch.stack([ramp[:, None].expand(40, 40), ramp.expand(40, 40), torch.zeros(40, 40)]).expand(50, 3, 40, 40)
    views = FaceViews(side=0.02, colour=PLAIN, edges=0.0)
    first, second = ((part[:, :2].mean((2, 3)) > 0.5) for part in views.pair(x, generator()).chunk(2))
    assert (first != second).any(1).all()
    assert len({tuple(row) for row in first.tolist()}) == 4


def test_a_crop_is_a_window_of_two_fifths():
    ramp = torch.linspace(0, 1, 50).expand(1, 3, 50, 50)
    view = FaceViews(colour=PLAIN, edges=0.0)(ramp, generator())
    assert (view[0, 0, 0, -1] - view[0, 0, 0, 0]).item() == pytest.approx(0.4, abs=0.03)


def test_whole_frames_are_not_cropped():
    x = torch.rand(3, 3, 16, 16, generator=generator())
    assert torch.equal(FaceViews(side=1.0, colour=PLAIN, edges=0.0)(x, generator()), x)
    assert WHOLE.pair(x, generator()).shape == (6, 3, 16, 16)


def test_views_are_random_but_follow_the_generator():
    x = torch.rand(4, 3, 32, 32, generator=generator())
    assert torch.equal(CROPS.pair(x, generator(1)), CROPS.pair(x, generator(1)))
    assert not torch.equal(CROPS.pair(x, generator(1)), CROPS.pair(x, generator(2)))
    with pytest.raises(WorkbookError, match="share of the sides"):
        FaceViews(side=0)
