import pytest
import torch
from torch import nn

from lib import cache
from lib.book import run as book
from lib.book.run import per_profile
from lib.seeds import seeded
from lib.studies.dar_sfrl import degradation_page as page
from lib.studies.dar_sfrl.losses import mixed_nt_xent, mixing
from lib.studies.dar_sfrl.networks import Restorer
from lib.studies.dar_sfrl.training import PAPER, RELEASED


@pytest.fixture
def faces():
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def restorer():
    with seeded(0):
        return Restorer(2).eval()


class Subtract(nn.Module):
    """A made restorer that takes everything but the mean of an image for noise."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return x.mean((2, 3), keepdim=True).expand_as(x) + self.weight


def test_an_attack_on_the_restoration_is_worse_than_noise_and_stays_inside_its_ball(faces, restorer):
    given = page.given_to(restorer, surrogate(), faces, torch.arange(6))
    assert tuple(given) == page.INPUTS
    error = {name: (restorer(x) - faces).square().mean().item() for name, x in given.items()}
    assert error["end to end"] > error["signs 8/255"]
    assert error["end to end"] > error["transfer"]
    for name in page.INPUTS[2:]:
        assert (given[name] - faces).abs().max() <= 8 / 255 + 1e-6


def surrogate():
    with seeded(1):
        return nn.Sequential(nn.Flatten(), nn.Linear(768, 7)).eval()


def test_quality_has_a_column_before_and_after_each_stage(faces, restorer):
    found = page.restored_quality(restorer, surrogate(), faces, torch.arange(6))
    shapes = {"PSNR": (6, 3), "SSIM": (6, 3), "passed": (6,)}
    assert set(found) == {f"{measure} {name}" for measure in shapes for name in page.INPUTS}
    for key, part in found.items():
        assert part.shape == shapes[key.split()[0]]


def test_what_passes_of_a_perturbation_is_counted_in_decibels(faces):
    restorer = Restorer(1).eval()
    for part in (restorer.stages[0].degrade.body[2], restorer.stages[0].transposed.body[2], restorer.stages[0].out):
        nn.init.zeros_(part.weight)
        if part.bias is not None:
            nn.init.zeros_(part.bias)
    # both operators are the identity and nothing is added: F + alpha (F' - F) of F = F'
    found = page.restored_quality(restorer, surrogate(), faces, torch.arange(6))
    torch.testing.assert_close(found["passed signs 8/255"], torch.zeros(6), atol=1e-4, rtol=0)


def test_longer_climbs_leave_no_more_of_the_face(faces, restorer, monkeypatch):
    monkeypatch.setattr(page, "CLIMBS", {"2": 2, "4": 4, "8": 8})
    monkeypatch.setattr(page, "RESTARTS", 2)
    found = page.restoration_convergence(restorer, faces)
    assert list(found) == ["2", "4", "8", "restarts"]
    assert found["8"].mean() <= found["2"].mean()
    assert found["restarts"].mean() <= found["4"].mean() + 1e-4


def test_the_best_blur_is_chosen_on_the_held_out_faces():
    draw = torch.Generator().manual_seed(2)
    flat = torch.rand(12, 3, 1, 1, generator=draw).expand(-1, -1, 16, 16).contiguous()
    noisy = [page.Degraded(part, part + 0.1 * torch.randn(part.shape, generator=draw), None) for part in flat.split(6)]
    width, won = page.blur_gain(*noisy)
    assert width == max(page.BLURS)  # on flat faces the widest blur is best
    assert won.shape == (6,)
    assert won.mean() > 3


def test_the_spectrum_reads_noise_from_a_face_that_pixels_hide():
    draw = torch.Generator().manual_seed(3)
    kind = torch.arange(400) % 2
    face = torch.rand(400, 3, 1, 1, generator=draw) * torch.linspace(0, 1, 16)
    noise = torch.randn(400, 3, 16, 16, generator=draw) * torch.tensor([0.05, 0.2])[kind].view(-1, 1, 1, 1)
    features = page.spectrum(face + noise)
    assert features.shape == (400, 3 * page.BANDS)
    assert page.linear_predictability(features[:300], kind[:300], features[300:], kind[300:]).all()
    wave = torch.cos(2 * torch.pi * 4 / 16 * torch.arange(16)).expand(1, 3, 16, 16)  # frequency 1/4: the middle ring
    assert page.spectrum(wave, bands=4).view(3, 4).argmax(1).tolist() == [2, 2, 2]


def test_random_features_tell_the_size_of_noise_that_pixels_hide():
    draw = torch.Generator().manual_seed(0)
    kind = torch.arange(400) % 2
    noise = torch.randn(400, 3, 8, 8, generator=draw) * torch.tensor([0.05, 0.2])[kind].view(-1, 1, 1, 1)
    features = page.random_features(noise)
    told = page.linear_predictability(features[:300], kind[:300], features[300:], kind[300:])
    flat = noise.flatten(1)
    blind = page.linear_predictability(flat[:300], kind[:300], flat[300:], kind[300:])
    assert told.double().mean() > 0.95
    assert blind.double().mean() < 0.7
    assert torch.equal(features, page.random_features(noise))


def test_separation_sees_a_residual_that_holds_all_the_noise_and_none_of_the_face():
    draw = torch.Generator().manual_seed(1)
    clean = torch.rand(240, 3, 1, 1, generator=draw).expand(-1, -1, 16, 16).contiguous()
    learn, test = (page.degraded(part, seed) for seed, part in enumerate(clean.split(160)))
    found = page.separation(Subtract(), learn, test)
    assert found["residual"].double().mean() > found["restored"].double().mean() + 0.2
    assert found["gain"].mean() > 0
    assert found["correlation"].shape == (80,)
    torch.testing.assert_close(page.restoration_gain(Subtract(), test), found["gain"])


def test_kinds_are_drawn_and_repeatable(faces):
    one, other = page.degraded(faces, 3), page.degraded(faces, 3)
    assert torch.equal(one.given, other.given)
    assert not torch.equal(one.given, page.degraded(faces, 4).given)


def test_the_gram_matrix_gives_the_expanded_loss_and_its_gradient_in_less_memory():
    draw = torch.Generator().manual_seed(0)
    both = torch.randn(12, 5, generator=draw, dtype=torch.float64).float().requires_grad_()
    mixes = mixing(12, 10, draw)
    gradients = [torch.autograd.grad(f(both, mixes), both)[0] for f in (mixed_nt_xent, page.expanded_nt_xent)]
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-4)
    found = {rows: page.compare_negatives(rows, 64) for rows in (16, 64)}
    for values in found.values():
        assert values["by Gram matrix"] == pytest.approx(values["expanded"], rel=1e-4)
        assert values["bytes by Gram matrix"] < values["bytes expanded"]
        assert values["apart"] < 1e-3
    assert page.slope([16, 64], [part["bytes by Gram matrix"] for part in found.values()]) < 2.2
    assert page.slope([2, 8], [4.0, 64.0]) == pytest.approx(2)


def test_kept_bytes_counts_a_storage_once():
    x = torch.ones(10, requires_grad=True)
    assert page.kept_bytes(lambda a: (a * a).sum(), x)[1] == 40
    assert page.kept_bytes(lambda a: a.sum(), x)[1] == 0


def test_iterations_are_timed_and_the_pages_sizes_are_the_studys(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "RUNS", tmp_path)
    monkeypatch.setattr(book, "show_table", lambda *given: None)
    run = book.start("09_degradation", profile="smoke", device="cpu")
    study = page.page_study(run, early=per_profile(1, 1, 1, 1))
    assert study.scale.early == 1
    assert study.network().restorer(0)(study.expressions.part("held", 2)[0]).shape == (2, 3, 16, 16)
    for objective in (PAPER, RELEASED):
        assert page.seconds_an_iteration(study, objective, repeats=1) > 0


def test_a_recipe_is_compared_training_by_training():
    judged = {"one": {"gain": torch.full((2, 5), 3.0)}, "other": {"gain": torch.tensor([[1.0], [2.0]]).expand(2, 5)}}
    found = page.recipe_gap(judged, "one", "other")
    assert (found.low, found.estimate, found.high) == (1.0, 1.5, 2.0)
