import pytest
import torch
from torch import nn

from lib.attacks import intensity_of
from lib.data import Pairs
from lib.defences import Basis, fit_pca
from lib.errors import WorkbookError
from lib.models import from_module, similarity
from lib.studies.pin.attacks import ATTACKS, attack_pairs, attacked_scores
from lib.studies.pin.pca_tradeoff import Part, joined, measure, retained, systems

SIZE = (8, 8)


def plain(function, *args, **settings):
    return function(*args, **settings)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 12))
    return from_module(body, size=SIZE, channels=1)


@pytest.fixture(scope="module")
def part():
    draw = torch.Generator().manual_seed(2)
    faces = torch.rand(40, 1, *SIZE, generator=draw)
    x = torch.rand(10, 1, *SIZE, generator=draw)
    y = (x + 0.3 * torch.rand(x.shape, generator=draw)).clamp(0, 1)
    y[5:] = torch.rand(5, 1, *SIZE, generator=draw)
    same = torch.arange(10) < 5
    index = torch.arange(10)
    return Part(Pairs(index, index, same, index), x, y, Basis(**fit_pca(faces, 20)), (x, y, same))


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_move_scores_the_right_way_inside_the_budget(name, model, part):
    same = part.pairs.same
    clean = similarity(model, part.x, part.y)
    adversarial = attack_pairs(name, model, part.x, part.y, same, threshold=float(clean.median()))
    moved = similarity(model, adversarial, part.y) - clean
    assert (moved[same] <= 1e-6).all()
    assert (moved[~same] >= -1e-6).all()
    assert moved.abs().max() > 1e-4
    assert intensity_of(part.x, adversarial).max() <= 0.04 * 1.001
    assert 0 <= adversarial.min() <= adversarial.max() <= 1


def test_attacks_repeat_and_do_not_depend_on_the_batch(model, part):
    pair = (model, part.x, part.y, part.pairs.same)
    first = attack_pairs("FGSM", *pair, batch=3)
    assert torch.allclose(first, attack_pairs("FGSM", *pair, batch=64), atol=1e-6)
    assert torch.equal(attack_pairs("PGD", *pair, seed=1), attack_pairs("PGD", *pair, seed=1))


def test_unknown_attack(model, part):
    with pytest.raises(WorkbookError, match="no attack 'CW' here"):
        attack_pairs("CW", model, part.x, part.y, part.pairs.same)


def test_online_beats_offline_on_the_defended_system(model, part):
    every = systems(model, part.basis, [5])
    pair = (part.x, part.y, part.pairs.same)
    online = attacked_scores(every["PCA-5"], {"PCA-5": every["PCA-5"]}, "PGD", *pair)["PCA-5"]
    offline = attacked_scores(model, every, "PGD", *pair)["PCA-5"]
    harm = torch.where(part.pairs.same, offline - online, online - offline)
    assert harm.mean() > 0


def test_measure_has_every_condition(model, part):
    scores = measure(plain, model, part, [5, 10], {"FGSM": [5, 10], "DeepFool": [5]})
    assert set(scores) == {"clean", "offline / FGSM", "online / FGSM", "offline / DeepFool", "online / DeepFool"}
    assert set(scores["offline / DeepFool"]) == {"none", "PCA-5", "PCA-10"}
    assert set(scores["online / DeepFool"]) == {"none", "PCA-5"}
    assert torch.equal(scores["online / FGSM"]["none"], scores["offline / FGSM"]["none"])
    both = joined([scores, scores])
    assert both["clean"]["PCA-5"].shape == (20,)


def test_retained_is_the_share_of_noise_energy(part):
    assert retained(part.basis, 20, torch.ones(SIZE)) == pytest.approx(20 / 64, abs=1e-6)
    mask = torch.zeros(SIZE)
    mask[:3] = 1
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 64, generator=draw) * mask.flatten()
    kept = (noise @ part.basis.vectors[:, :7]).square().sum() / noise.square().sum()
    assert retained(part.basis, 7, mask) == pytest.approx(kept.item(), rel=0.02)
