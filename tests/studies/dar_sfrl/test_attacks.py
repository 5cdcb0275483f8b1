import pytest
import torch
from torch import nn

from lib.attacks.settings import PGD
from lib.errors import WorkbookError
from lib.seeds import seeded
from lib.studies.dar_sfrl import attacks
from lib.studies.dar_sfrl.evaluation import Probe
from lib.studies.dar_sfrl.networks import Pixels, Restorer

SEVEN = attacks.SEVEN
attacked = attacks.attack
objective_for = attacks.objective_for
seven_attacks = attacks.seven_attacks


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def faces(n=6):
    return 0.2 + 0.6 * torch.rand(n, 3, 8, 8, generator=generator(1))


def linear_probe(encoder=None, classes=4):
    with seeded(2):
        weight = torch.randn(classes, 192) / 8
    return Probe(encoder or Pixels(), torch.full((192,), 0.5), torch.ones(192), weight, torch.zeros(classes)).eval()


def answers(probe, x):
    return probe(x).argmax(1)


def test_the_seven_attacks_have_the_released_settings():
    assert list(SEVEN) == ["PGD", "UPGD", "BIM", "MIFGSM", "EOTPGD", "DIFGSM", "NIFGSM"]
    assert all((settings.steps, settings.step) == (10, "2/255") for settings in SEVEN.values())
    assert (SEVEN["EOTPGD"].eot, SEVEN["MIFGSM"].decay, SEVEN["NIFGSM"].nesterov) == (
        2,
        1.0,
        True,
    )
    assert (SEVEN["DIFGSM"].diversity, SEVEN["DIFGSM"].resize_rate, SEVEN["UPGD"].start) == (
        0.5,
        0.9,
        "clean",
    )


def test_all_stay_in_the_ball_and_worst_is_none_better_than_each():
    probe, x = linear_probe(), faces()
    labels = answers(probe, x)
    found = seven_attacks(objective_for("end to end", probe, labels), x)
    assert set(found) == set(SEVEN)
    assert all((images - x).abs().max() <= 8 / 255 + 1e-6 for images in found.values())
    right = attacks.withstood(probe, labels, found)
    assert torch.equal(right["worst"], torch.stack([right[name] for name in SEVEN]).all(0))
    assert torch.equal(answers(probe, attacks.worst_of(probe, labels, found)) == labels, right["worst"])


def test_the_released_objective_is_a_brightness_shift_and_end_to_end_is_not():
    probe, x = linear_probe(), faces()
    labels = torch.arange(6) % 4
    released = attacked(objective_for("released", probe, labels), x, SEVEN["BIM"])
    told = attacks.perturbation_statistics(x, released)
    assert told["mean"].min() > 7.5
    assert told["positive"].min() > 0.98
    assert told["cosine"].min() > 0.98
    white = attacks.perturbation_statistics(x, attacked(objective_for("end to end", probe, labels), x, SEVEN["BIM"]))
    assert white["cosine"].abs().max() < 0.5
    assert torch.equal(attacked(attacks.pixel_objective(nn.Identity(), labels), x, SEVEN["BIM"]), released)


def test_end_to_end_passes_through_the_restorer():
    with seeded(0):
        probe = linear_probe(Pixels(Restorer(1, channels=2).eval()))
    x = faces()
    labels = answers(probe, x)
    leaf = x.clone().requires_grad_()
    loss = nn.functional.cross_entropy(probe(leaf), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, leaf)
    one_step = attacked(objective_for("end to end", probe, labels), x, PGD.but(steps=1, start="clean", step="8/255"))
    assert torch.allclose(one_step, x + 8 / 255 * gradient.sign(), atol=1e-6)


def test_transfer_climbs_the_surrogate():
    probe, surrogate, x = linear_probe(), linear_probe(classes=5), faces()
    labels = answers(surrogate, x).clamp(max=3)
    there = attacked(objective_for("end to end", surrogate, labels), x)
    assert torch.equal(attacked(objective_for("transfer", probe, labels, surrogate), x), there)
    with pytest.raises(WorkbookError, match="give a classifier"):
        objective_for("transfer", probe, labels)
    with pytest.raises(WorkbookError, match="threat model is one of"):
        objective_for("white", probe, labels)
    assert len(attacks.THREATS) == 3


def test_more_steps_never_leave_more_right():
    probe, x = linear_probe(), faces()
    found = attacks.convergence(probe, x, answers(probe, x), steps=(1, 5, 10))
    counts = [right.sum().item() for right in found.values()]
    assert counts == sorted(counts, reverse=True)


def test_statistics_of_known_perturbations():
    x = faces(2)
    told = attacks.perturbation_statistics(x, attacks.shifted(x))
    assert torch.allclose(told["mean"], torch.tensor(8.0), atol=1e-4)
    assert told["cosine"].min() > 0.9999
    noise = attacks.perturbation_statistics(x, attacks.random_signs(x, generator()))
    assert noise["positive"].sub(0.5).abs().max() < 0.15
    assert noise["cosine"].abs().max() < 0.3
    assert attacks.perturbation_statistics(x, x)["cosine"].tolist() == [0, 0]


def test_autoattack_leaves_no_more_than_the_seven():
    probe, x = linear_probe(), faces()
    labels = answers(probe, x)
    found = attacks.autoattacked(probe, x, labels, iterations=10, queries=20)
    worst = attacks.withstood(probe, labels, seven_attacks(objective_for("end to end", probe, labels), x))["worst"]
    assert found.robust.sum() <= worst.sum()


def test_a_straight_gradient_is_that_behind_the_purifier():
    class Round(nn.Module):
        def forward(self, x):
            return (x * 4).round() / 4

    probe, leaf = linear_probe(), faces(2).requires_grad_()
    straight = attacks.Straight(Round(), probe)
    assert torch.equal(straight(leaf), probe((leaf * 4).round() / 4))
    (gradient,) = torch.autograd.grad(straight(leaf)[:, 0].sum(), leaf)
    assert torch.allclose(gradient[0].flatten(), probe.weight[0], atol=1e-6)
