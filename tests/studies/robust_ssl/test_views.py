import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.robust_ssl.views import LEFT_OUT, STANDARD, left_out, small_crops
from lib.transforms.conformal_views import ConformalViews


def test_each_augmentation_can_be_left_out():
    for name, change in LEFT_OUT.items():
        views = left_out(name)
        changed = {key for key in vars(views) if getattr(views, key) != getattr(STANDARD, key)}
        assert changed == set(change)
    with pytest.raises(WorkbookError, match="can be left out"):
        left_out("cutout")


@pytest.mark.parametrize("views", [STANDARD, ConformalViews(views=STANDARD)])
def test_small_crops_have_half_the_side(views):
    found = small_crops(views, 32)(torch.rand(5, 3, 32, 32), torch.Generator().manual_seed(0))
    assert found.shape == (5, 3, 16, 16)
    assert 0 <= found.min() <= found.max() <= 1
