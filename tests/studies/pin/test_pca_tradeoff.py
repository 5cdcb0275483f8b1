import pytest
import torch

from lib.attacks import Intensity, intensity_of, named_attack
from lib.errors import WorkbookError
from lib.models import similarity
from lib.studies.pin.attacks import PIN_ATTACKS, attack_pairs
from lib.studies.pin.pca_tradeoff import exact_scores, join_scores, measure, pca_systems, retained
from tests.studies.pin.small import SIZE, Run, fitted_pairs, small_model


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def part():
    return fitted_pairs(40, 20)


@pytest.mark.parametrize("name", PIN_ATTACKS)
def test_attacks_move_scores_the_right_way_inside_the_budget(name, model, part):
    same = part.pairs.same
    clean = similarity(model, part.images.x, part.images.y)
    adversarial = attack_pairs(name, model, part.images, threshold=float(clean.median()))
    moved = similarity(model, adversarial, part.images.y) - clean
    assert (moved[same] <= 1e-6).all()
    assert (moved[~same] >= -1e-6).all()
    assert moved.abs().max() > 1e-4
    assert intensity_of(part.images.x, adversarial).max() <= 0.04 * 1.001
    assert 0 <= adversarial.min() <= adversarial.max() <= 1


def test_attacks_repeat(model, part):
    one, two = (attack_pairs("PGD", model, part.images, seed=1) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("name", [f"PIN {name}" for name in PIN_ATTACKS] + ["PIN PGD-L2, BPDA"])
def test_registered_attacks_are_the_same_ones(name, model, part):
    attack = named_attack(name, "recogniser")
    moved = attack(model, part.images, Intensity(0.04), seed=1)
    short = name.removeprefix("PIN ").removesuffix(", BPDA")  # without PIN's masks BPDA changes nothing
    assert torch.equal(moved, attack_pairs(short, model, part.images, seed=1))
    assert intensity_of(part.images.x, moved).max() <= 0.04 * 1.001
    assert 0 <= moved.min() <= moved.max() <= 1


def test_unknown_attack(model, part):
    with pytest.raises(WorkbookError, match="no attack 'CW' here"):
        attack_pairs("CW", model, part.images)


def test_online_beats_offline_on_the_defended_system(model, part):
    every = pca_systems(model, part.basis, [5])
    online = exact_scores(every["PCA-5"], {"PCA-5": every["PCA-5"]}, "PGD", part.images)["exact"]["PCA-5"]
    offline = exact_scores(model, every, "PGD", part.images)["exact"]["PCA-5"]
    harm = torch.where(part.pairs.same, offline - online, online - offline)
    assert harm.mean() > 0


def test_measure_has_every_condition(model, part):
    scores = measure(Run(), model, part, [5, 10], {"FGSM": [5, 10], "DeepFool": [5]})
    attacked = {f"{protocol} / {attack}" for protocol in ("offline", "online") for attack in ("FGSM", "DeepFool")}
    assert set(scores) == {"clean", "intensity"} | attacked | {f"{name}, as stepped" for name in attacked}
    assert set(scores["offline / DeepFool"]) == {"none", "PCA-5", "PCA-10"}
    assert set(scores["online / DeepFool"]) == {"none", "PCA-5"}
    assert torch.equal(scores["online / FGSM"]["none"], scores["offline / FGSM"]["none"])
    assert scores["intensity"]["FGSM"].shape == (30,)  # none, PCA-5 and PCA-10
    assert scores["intensity"]["DeepFool"].shape == (20,)
    both = join_scores([scores, scores])
    assert both["clean"]["PCA-5"].shape == (20,)


def test_retained_is_the_share_of_noise_energy(part):
    assert retained(part.basis, 20, torch.ones(SIZE)) == pytest.approx(20 / 64, abs=1e-6)
    mask = torch.zeros(SIZE)
    mask[:3] = 1
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(20_000, 64, generator=draw) * mask.flatten()
    kept = (noise @ part.basis.vectors[:, :7]).square().sum() / noise.square().sum()
    assert retained(part.basis, 7, mask) == pytest.approx(kept.item(), rel=0.02)
