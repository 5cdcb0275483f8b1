"""Corruptions beside Gaussian and adversarial noise of their size."""

import torch

from lib.book.ledger import judge
from lib.papers import registered_claim
from lib.studies.robust_ssl import corruptions_as_attacks as page
from lib.studies.robust_ssl.corrupted_accuracy import Group
from lib.studies.robust_ssl.corruption_tables import Errors
from lib.transforms.corruptions import COMMON, corrupt
from tests.studies.robust_ssl.test_corrupted_accuracy import Brightest, pictures


def test_noise_has_the_size_that_is_asked_for():
    x = pictures(5)[0].float() / 255
    size = page.sizes_of(corrupt(x, "fog", 3, torch.Generator().manual_seed(3)) - x)
    seen = page.with_noise(x, size, torch.Generator().manual_seed(0))
    assert torch.allclose(page.sizes_of(seen - x), size, rtol=0.02)
    assert 0 <= seen.min() <= seen.max() <= 1


def test_each_change_is_named_and_the_attack_is_the_strongest():
    x, labels = pictures(30)
    models = (Brightest(),)
    wanted = models[0](x.float() / 255).argmax(1)
    found = page.named_alike(Group(models, ("a",)), x, wanted, "gaussian_noise", "cpu", 10)
    assert found.shape == (1, 3, 30)
    assert found[0, 2].sum() == 0  # channel means of random pictures lie close together
    assert found[0, 1].sum() > 0
    seen = corrupt(x.float() / 255, "gaussian_noise", page.MIDDLE, torch.Generator().manual_seed(page.MIDDLE))
    assert torch.equal(found[0, 0], models[0](seen).argmax(1) == wanted)
    assert page.left_to_find(Group(models, ("a",)), (x[:4], wanted[:4]), "cpu", (1, 3)) >= 0


def errors_at(place):
    """Corruptions at a share of the way from Gaussian (30 % error) to adversarial noise (90 %)."""
    rows = torch.tensor([30 + 60 * place, 30.0, 90.0]).expand(20, 2, len(COMMON), 3)
    return Errors(("a", "b"), COMMON, (0, 1, 2), torch.full((20, 2), 20.0), rows + 0.1 * torch.rand(20, 2, 15, 3), 40)


def test_corruptions_like_attacks_and_unlike():
    for place, wanted in ((0.9, "replicated"), (0.1, "not replicated")):
        errors = errors_at(place)
        interval = errors.interval(page.typical_likeness(errors))
        assert abs(interval.estimate - place) < 0.02
        assert judge((interval.low, interval.high), registered_claim("robust_ssl-1d")) == wanted


def test_no_room_between_the_noises_gives_no_value():
    errors = errors_at(0.9)
    errors.under[:, :, 0, 2] = errors.under[:, :, 0, 1] - 1
    assert page.likeness(errors)[:, 0].isnan().all()
    assert abs(page.typical_likeness(errors)[0].item() - 0.9) < 0.02
