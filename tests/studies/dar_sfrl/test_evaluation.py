import math

import pytest
import torch
from scipy import stats
from torch import nn

from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl import evaluation
from lib.studies.dar_sfrl.networks import Pixels, Restorer

ProbeRecipe = evaluation.ProbeRecipe
UnitRecipe = evaluation.UnitRecipe
RELEASED_PROBE = evaluation.RELEASED_PROBE


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def classes(n=120, dim=12, apart=2.0, seed=0):
    labels = torch.arange(n) % 3
    centres = apart * torch.eye(3, dim)
    return centres[labels] + torch.randn(n, dim, generator=generator(seed)), labels


def test_a_probe_learns_and_keeps_the_best_epoch_of_each_look():
    learn, held, test = (classes(seed=seed) for seed in range(3))
    fitted = evaluation.fit_probe(*learn, {"held": held, "test": test}, ProbeRecipe(epochs=20, batch=40))
    for name, (x, y) in {"held": held, "test": test}.items():
        curve = fitted[f"{name} accuracy"]
        assert int(fitted[f"{name} epoch"]) == int(curve.argmax())
        logits = (x - fitted["mean"]) / fitted["std"] @ fitted[f"{name} weight"].T + fitted[f"{name} bias"]
        assert (logits.argmax(1) == y).float().mean().item() == pytest.approx(curve.max().item())
    assert fitted["held accuracy"].max() > 0.6
    gain = fitted["test accuracy"].max() - fitted["test accuracy"][int(fitted["held epoch"])]
    assert evaluation.gain_of_choosing_on_test(fitted) == pytest.approx(gain.item())
    assert evaluation.gain_of_choosing_on_test(fitted) >= 0


def test_the_released_probe_neither_shuffles_nor_standardises():
    learn, held = classes(), classes(seed=1)
    fitted = evaluation.fit_probe(*learn, {"held": held}, ProbeRecipe(epochs=2, shuffled=False, standardised=False))
    assert fitted["mean"].abs().max() == 0
    assert fitted["std"].min() == 1
    assert (RELEASED_PROBE.epochs, RELEASED_PROBE.rate, RELEASED_PROBE.batch) == (
        300,
        1e-2,
        256,
    )


def test_a_fitted_probe_is_a_classifier_of_images():
    x = torch.rand(30, 3, 4, 4, generator=generator())
    labels = (x.mean((1, 2, 3)) > 0.5).long()
    encoder = Pixels()
    features = evaluation.features_of(encoder, (255 * x).byte())
    assert torch.allclose(features, (255 * x).byte().flatten(1) / 255)
    fitted = evaluation.fit_probe(features, labels, {"held": (features, labels)}, ProbeRecipe(epochs=30, batch=10))
    probe = evaluation.probe_from(encoder, fitted)
    shares = (probe((255 * x).byte() / 255).argmax(1) == labels).float().mean()
    assert shares.item() == pytest.approx(fitted["held accuracy"].max().item(), abs=1e-6)


def test_quality_by_stage_is_psnr_and_ssim():
    pytest.importorskip("torchmetrics")
    clean = torch.rand(3, 3, 16, 16, generator=generator())
    degraded = (clean + 0.1).clamp(0, 1)
    with seeded(0):
        restorer = Restorer(2, channels=2).eval()
    found = evaluation.quality_by_stage(restorer, clean, degraded, batch=2)
    assert {name: tuple(table.shape) for name, table in found.items()} == dict.fromkeys(("PSNR", "SSIM", "MAE"), (3, 3))
    error = (degraded - clean).square().mean((1, 2, 3))
    assert torch.allclose(found["PSNR"][:, 0], -10 * error.log10(), atol=1e-4)
    second = restorer.unroll(degraded).faces[1].clamp(0, 1)
    assert torch.allclose(found["MAE"][:, 2], (second - clean).abs().mean((1, 2, 3)), atol=1e-6)
    same = evaluation.quality_by_stage(restorer, clean, clean)
    assert torch.allclose(same["SSIM"][:, 0], torch.ones(3), atol=1e-5)


def test_linear_predictability_tells_what_can_be_told():
    learn, test = classes(apart=6.0), classes(apart=6.0, seed=1)
    assert evaluation.linear_predictability(*learn, *test).float().mean() > 0.95
    noise = torch.randn(120, 12, generator=generator(3))
    assert evaluation.linear_predictability(noise, learn[1], test[0], test[1]).float().mean() < 0.6


def test_overlap_of_normal_densities_is_the_formula():
    places = torch.linspace(0.001, 0.999, 1500, dtype=torch.float64)
    one = torch.from_numpy(stats.norm.ppf(places.numpy()))
    for distance in (0.0, 1.0, 3.0):
        expected = 2 * stats.norm.cdf(-distance / 2)
        assert evaluation.overlap(one, one + distance) == pytest.approx(expected, abs=0.04)
    assert evaluation.overlap(one, one) == pytest.approx(1, abs=1e-3)
    assert evaluation.overlap(one, one + 50) == pytest.approx(0, abs=1e-6)


def test_a_representation_that_ignores_its_input_overlaps_fully():
    constant = torch.full((10, 4), 0.3)
    assert evaluation.pooled_overlap(constant, constant.clone()) == 1
    assert evaluation.overlap(constant[:, 0], constant[:, 0] + 1) == 0
    columns = torch.arange(4.0).expand(10, 4)
    assert evaluation.pooled_overlap(columns, columns.clone()) == pytest.approx(1, abs=1e-3)


def test_one_axis_sees_a_shift_that_pooling_hides():
    clean = torch.randn(300, 8, generator=generator())
    moved = clean + torch.tensor([4.0, -4.0] * 4)
    assert evaluation.axis_overlap(clean, moved) < 0.05
    assert evaluation.axis_overlap(clean, clean.clone()) == pytest.approx(1, abs=0.01)


def test_grouping_of_known_clusters():
    x, labels = classes(90, apart=30.0)
    found = evaluation.grouping(x, labels)
    assert found["kNN"] == 1
    assert found["silhouette"] > 0.8
    assert evaluation.grouping(x, labels[torch.randperm(90, generator=generator())])["kNN"] < 0.7


def test_f1_of_a_hand_counted_case():
    present = torch.tensor([[1, 0], [1, 0], [0, 0], [0, 0]]).bool()
    logits = torch.tensor([[2.0, -1.0], [-2.0, -1.0], [2.0, -1.0], [-3.0, -1.0]])
    assert evaluation.unit_f1(logits, present).tolist() == pytest.approx([2 / (2 + 1 + 1), 0])
    low = torch.tensor([[-1.0], [-1.0], [-2.0], [-2.0]])
    assert evaluation.unit_f1(low, present[:, :1]).item() == 0
    assert evaluation.unit_f1(low, present[:, :1], best_threshold=True).item() == 1


def test_units_are_learnt_together():
    x = torch.rand(200, 3, 4, 4, generator=generator())
    present = torch.stack([x.mean((1, 2, 3)) > 0.5, x[:, 0].mean((1, 2)) > 0.5], 1)
    probe = evaluation.fit_unit_probe(Pixels(), x.flatten(1), present, UnitRecipe(epochs=40, batch=50, rate=1e-2))
    assert evaluation.unit_f1(probe(x), present).min() > 0.8
    assert not any(weight.requires_grad for weight in probe.parameters())


def test_a_verification_head_parts_pairs():
    people = torch.randn(20, 48, generator=generator())
    first = people.repeat(10, 1) + 0.3 * torch.randn(200, 48, generator=generator(1))
    same = torch.arange(200) % 2 == 0
    other = torch.where(same[:, None], people.repeat(10, 1), people.roll(3, 0).repeat(10, 1))
    second = other + 0.3 * torch.randn(200, 48, generator=generator(2))
    recipe = evaluation.PairRecipe(epochs=20, rate=1e-3, dim=16)
    head = evaluation.fit_pair_head(Pixels(), 4, first, second, same, recipe)
    cosine = nn.functional.cosine_similarity(head.layers(first), head.layers(second))
    assert cosine[same].mean() > cosine[~same].mean() + 0.4
    image = first[:2].view(2, 3, 4, 4)
    assert torch.allclose(head.embed(image).norm(dim=1), torch.ones(2))
    with pytest.raises(WorkbookError, match="as many of each"):
        evaluation.fit_pair_head(Pixels(), 4, first, second[:3], same, recipe)
    assert math.isfinite(cosine.sum().item())
