"""Networks under corruption and distortion: all see the same pictures, and each result stands in its place."""

import pytest
import torch
from torch import nn

from lib import cache
from lib.book import run as book
from lib.errors import WorkbookError
from lib.studies.robust_ssl import corrupted_accuracy as page
from lib.studies.robust_ssl.networks import Encoder
from lib.studies.robust_ssl.probes import LinearProbe
from lib.studies.robust_ssl.study import study_for
from lib.training import loop
from lib.transforms.corruptions import COMMON, EXTRA, corrupt
from lib.transforms.distortions import SUBSETS, SWEEP, distort

KNOBS = {name: dict.fromkeys(("smoke", "laptop", "gpu", "paper"), 8) for name in ("corrupted",)}


class Brightest(nn.Module):
    """Names an image by its brightest channel."""

    def __init__(self, sign=1.0):
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def forward(self, x):
        """Logits (n, 3)."""
        return self.sign * x.mean((2, 3))


def pictures(m=6):
    x = (255 * torch.rand(m, 3, 32, 32, generator=torch.Generator().manual_seed(0))).to(torch.uint8)
    return x, torch.arange(m) % 3


def test_each_picture_and_network_by_itself():
    x, labels = pictures(7)
    models = [Brightest(), Brightest(-1.0)]
    found = page.named(models, x.float() / 255, labels)
    for row, model in enumerate(models):
        alone = [model(image[None].float() / 255).argmax(1).item() for image in x]
        slow = [name == label for name, label in zip(alone, labels.tolist(), strict=True)]
        assert found[row].tolist() == slow


def test_corrupted_and_distorted_pictures_are_libs():
    x, labels = pictures()
    models = (Brightest(),)
    found = page.named_corrupted(page.Group(models, ("a",)), x, labels, "impulse", "cpu")
    for at, severity in enumerate(page.SEVERITIES):
        seen = corrupt(x.float() / 255, "impulse", severity, torch.Generator().manual_seed(severity))
        assert torch.equal(found[:, at], page.named(models, seen, labels))
    found = page.named_distorted(page.Group(models, ("a",)), x, labels, "top, padded", "cpu")
    for at, size in enumerate(SWEEP):
        assert torch.equal(found[:, at], page.named(models, distort(x.float() / 255, "top", "padded", size), labels))


def test_a_group_is_keyed_by_its_weights():
    one, same, other = (page.Group((Brightest(sign),), ("a",)).fingerprint for sign in (1.0, 1.0, 2.0))
    assert one == same != other
    assert page.Group((Brightest(),) * 6, ("a", "b", "c")).shape == (3, 2)


def test_without_normalisation_a_picture_looks_pale():
    """The trunk then sees what it would see of a picture of a quarter of the contrast, around 0.5 + 0.125."""
    encoder = Encoder(width=2)
    fitted = {
        name: torch.rand(encoder.dim, generator=torch.Generator().manual_seed(1)) + 0.5 for name in ("mean", "std")
    }
    probe = LinearProbe(encoder, **fitted, weight=torch.randn(3, encoder.dim), bias=torch.zeros(3)).eval()
    x = pictures(4)[0].float() / 255
    bare = page.Unnormalised(probe)
    assert torch.allclose(bare(x), probe(0.5 + 0.25 * x), atol=1e-4)
    assert not torch.allclose(bare(x), probe(x), atol=1e-2)
    assert page.Group((bare,), ("a",)).fingerprint != page.Group((probe,), ("a",)).fingerprint


def made_rights():
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand(3, 2, 5, generator=draw) < 0.5
    under = torch.rand(3, 2, 2, 4, 5, generator=draw) < 0.5
    return page.Rights(("a", "b", "c"), ("fog", "jpeg"), (1, 2, 3, 4), clean, under)


def test_rights_are_taken_by_name():
    rights = made_rights()
    part = rights.of("c", "a").only("jpeg")
    assert torch.equal(part.clean, rights.clean[[2, 0]])
    assert torch.equal(part.under[:, :, 0], rights.under[[2, 0]][:, :, 1])
    with pytest.raises(WorkbookError, match="no 'd'"):
        rights.of("d")
    with pytest.raises(WorkbookError, match="measure every network"):
        page.Rights(("a", "b"), rights.conditions, rights.strengths, rights.clean, rights.under)


def test_a_study_measures_every_network_under_every_condition(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    study = study_for(book.start("16_corruptions", profile="smoke", device="cpu"), **KNOBS)
    seeds = len(study.scale.seeds)
    group = page.group_of(study, ("SimSiam", "untrained"))
    corrupted = page.corrupted_rights(study, group)
    assert corrupted.under.shape == (2, seeds, 19, 5, 8)
    assert corrupted.conditions == COMMON + EXTRA
    images, labels = page.tested(study, 8)
    model = study.probe(study.encoder("untrained", 1))
    alone = page.named_corrupted(page.Group((model,), ("untrained",)), images, labels, "frost", study.device)
    assert torch.equal(corrupted.under[1, 1, corrupted.conditions.index("frost")], alone[0])
    assert torch.equal(corrupted.clean[1, 1], page.named([model], images.float() / 255, labels)[0])
    few = page.corrupted_rights(study, group, most=5)
    assert torch.equal(few.under, corrupted.first(5).under)
    assert torch.equal(few.clean, corrupted.first(5).clean)
    distorted = page.distorted_rights(study, group)
    assert distorted.conditions == tuple(SUBSETS)
    assert distorted.under.shape == (2, seeds, 8, len(SWEEP), 8)
