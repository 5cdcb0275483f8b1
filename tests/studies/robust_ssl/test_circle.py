import pytest
import torch

from lib.errors import WorkbookError
from lib.studies.robust_ssl.circle import Turned, move, on_circle, resultant, winding
from lib.studies.robust_ssl.families import METHODS, REMOVALS


def test_points_turn_on_their_circle():
    points = on_circle(8)
    assert torch.allclose(points.norm(dim=1), torch.ones(8))
    turned = Turned(0.3)(points, torch.Generator().manual_seed(0))
    assert torch.allclose(turned.norm(dim=1), torch.ones(8), atol=1e-6)
    angles = torch.atan2(turned[:, 1], turned[:, 0]) - torch.atan2(points[:, 1], points[:, 0])
    drawn = 0.3 * torch.randn(8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(torch.remainder(angles - drawn + 1, 2 * torch.pi), torch.ones(8), atol=1e-5)


def test_the_winding_counts_turns():
    around = on_circle(12)
    once, back, nowhere = winding(torch.stack([around, around.flip(0), on_circle(1).expand(12, 2)])).tolist()
    assert (once, back, nowhere) == (1, -1, 0)
    assert winding(torch.cat([around[::2], around[::2]])).item() == 2


def test_the_resultant_tells_collapse_from_spread():
    assert resultant(on_circle(12)).item() == pytest.approx(0, abs=1e-6)
    assert resultant(on_circle(1).expand(7, 2)).item() == pytest.approx(1)
    assert resultant(torch.tensor([[0.6, 0.8], [-0.6, -0.8]])).item() == pytest.approx(1)  # two opposite heaps
    quarter = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert resultant(quarter).item() == pytest.approx(0, abs=1e-6)  # doubled, they lie opposite


def test_negatives_spread_points_that_collapse_without_them():
    spread, collapsed = (resultant(move("SimCLR", part, steps=200)["places"][-1]) for part in (None, "negatives"))
    assert spread < 0.2
    assert collapsed > 0.9


@pytest.mark.parametrize(("method", "part"), [*((name, None) for name in METHODS), *REMOVALS])
def test_every_loss_moves_points_on_the_circle(method, part):
    found = move(method, part, steps=3, frames=3)
    assert found["places"].shape == (4, 24, 2)
    assert torch.allclose(found["places"].norm(dim=2), torch.ones(4, 24), atol=1e-5)
    assert found["steps"].tolist() == [0, 1, 2, 3]
    assert not torch.equal(found["places"][0], found["places"][-1])


def test_more_frames_than_steps_are_told():
    with pytest.raises(WorkbookError, match="at most 3 times"):
        move("SimCLR", steps=3, frames=4)
