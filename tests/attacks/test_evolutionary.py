import itertools
import math
from dataclasses import replace

import pytest
import torch

from lib.attacks import ROBFR, Evolution, evolutionary, pair_decision
from lib.attacks.evolutionary import _weighted_draw
from lib.errors import WorkbookError
from tests.attacks.small import SmallNet, pictures

P, SIDE, TINY = 3, 9, Evolution(grid=4, share=4, window=5, queries=200, report=(200,))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class HalfSpace:
    """Adversarial on the far side of a hyperplane per pair; keeps what it was asked."""

    def __init__(self, pairs=P, side=SIDE, distance=0.5):
        self.clean = 0.3 + 0.4 * torch.rand(pairs, 1, side, side, generator=seeded(1), dtype=torch.float64)
        slope = torch.randn(pairs, side * side, generator=seeded(2), dtype=torch.float64)
        self.slope = slope / slope.norm(dim=1, keepdim=True)
        self.distance, self.asked = distance, 0
        self.start = self.clean + 2 * distance * self.slope.view_as(self.clean)
        self.start += 0.1 * torch.randn(self.clean.shape, generator=seeded(3), dtype=torch.float64)
        self.start.clamp_(0, 1)

    def __call__(self, images):
        self.asked += 1
        return ((images - self.clean).flatten(1) * self.slope).sum(1) > self.distance


def enlarged(grid, side):
    """Bilinear enlargement of one (g, g) grid with pixel centres at halves, pixel by pixel."""
    size, large = len(grid), torch.zeros(side, side, dtype=grid.dtype)
    for i, j in itertools.product(range(side), repeat=2):
        places = [min(max((at + 0.5) * size / side - 0.5, 0), size - 1) for at in (i, j)]
        (a, b), (u, v) = [int(place) for place in places], [place % 1 for place in places]
        for da, db in itertools.product((0, 1), repeat=2):
            weight = (u if da else 1 - u) * (v if db else 1 - v)
            large[i, j] += weight * grid[min(a + da, size - 1), min(b + db, size - 1)]
    return large


def slow_evolution(decision, start, queries, settings, generator):
    """The attack pair by pair, as RobFR's loop reads, on the same random numbers."""
    n, chosen = settings.grid**2, settings.grid**2 // settings.share
    images = [image.clone() for image in start[:, 0]]
    mu, wins = [settings.mu] * P, [[] for _ in range(P)]
    path = [torch.zeros(n, dtype=torch.float64) for _ in range(P)]
    covariance = [torch.ones(n, dtype=torch.float64) for _ in range(P)]
    for _ in range(queries):
        times = torch.rand(P, n, generator=generator, dtype=torch.float64)
        normal = torch.randn(P, chosen, generator=generator, dtype=torch.float64)
        candidates, mutations = [], []
        for i in range(P):
            x, z = decision.clean[i, 0], torch.zeros(n, dtype=torch.float64)
            arrival = [-math.log(1 - time) / rate for time, rate in zip(times[i], covariance[i], strict=True)]
            for rank, place in enumerate(sorted(range(n), key=arrival.__getitem__)[:chosen]):
                z[place] = normal[i, rank] * covariance[i][place].sqrt()
            large = enlarged(z.view(settings.grid, -1), SIDE)
            biased = images[i] + mu[i] * (x - images[i])
            candidate = biased + settings.sigma * (x - images[i]).norm() * large / large.norm()
            candidate = x - (x - candidate) / (x - candidate).norm() * (x - biased).norm()
            candidates.append(candidate.clamp(0, 1))
            mutations.append(z)
        for i, adversarial in enumerate(decision(torch.stack(candidates)[:, None])):
            wins[i].append(float(adversarial))
            if adversarial:
                images[i], decay, rate = candidates[i], settings.path_decay, settings.covariance_rate
                path[i] = decay * path[i] + (1 - decay**2) ** 0.5 * mutations[i]
                covariance[i] = (1 - rate) * covariance[i] + rate * path[i] ** 2
            if len(wins[i]) == settings.window:
                mu[i], wins[i] = mu[i] * math.exp(sum(wins[i]) / settings.window - 0.2), []
    return torch.stack(images)[:, None]


def test_agrees_with_the_pair_by_pair_loop():
    decision, settings = HalfSpace(), Evolution(grid=4, share=4, window=5, covariance_rate=0.2, mu=0.05)
    expected = slow_evolution(decision, decision.start, 30, settings, seeded())
    found = evolutionary(
        decision,
        decision.clean,
        decision.start,
        settings=replace(settings, queries=31, report=(31,)),
        generator=seeded(),
    )
    assert not torch.equal(found.images, decision.start)
    torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-12)
    mse = (expected - decision.clean).square().flatten(1).mean(1, keepdim=True)
    torch.testing.assert_close(found.mse, mse)


@pytest.mark.parametrize("start", [True, False])
def test_distortion_never_grows_and_the_end_is_adversarial(start):
    decision = HalfSpace(distance=0.1)
    x, first = decision.clean, decision.start if start else None
    found = evolutionary(
        decision, x, first, replace(TINY, queries=200, report=tuple(range(1, 201))), generator=seeded()
    )
    assert found.queries == decision.asked == 200
    known = found.mse[:, found.mse[0].isfinite()]
    assert known.shape[1] == 199 if start else known.shape[1] > 150
    assert known.isfinite().all()
    assert (known.diff(dim=1) <= 1e-12).all()
    assert (known[:, -1] < 0.9 * known[:, 0]).all()
    assert found.found.all()
    assert decision(found.images).all()
    assert found.images.min() >= 0
    assert found.images.max() <= 1


def test_comes_close_to_the_nearest_adversarial_image():
    decision = HalfSpace(distance=0.3)
    settings = Evolution(grid=SIDE, window=30, queries=3000, report=())
    found = evolutionary(decision, decision.clean, decision.start, settings)
    distance = (found.images - decision.clean).flatten(1).norm(dim=1)
    assert (distance > 0.3).all()
    assert (distance < 1.5 * 0.3).all()


def test_noise_starts_are_drawn_until_adversarial_and_then_bisected():
    clean, answers = torch.zeros(4, 1, 8, 8), []

    def third_time(images):
        far = images.flatten(1).mean(1) > 0.25
        answers.append(far & ((torch.arange(4) != 2) | (len(answers) >= 2)))
        return answers[-1]

    found = evolutionary(third_time, clean, None, replace(TINY, queries=14, report=(13, 14)), generator=seeded())
    assert len(answers) == 14
    assert answers[0].tolist() == [True, True, False, True]
    mean = found.images.flatten(1).mean(1)  # the border is half the way to the noise: found to 2^-10 of that way
    torch.testing.assert_close(mean, torch.full((4,), 0.25), rtol=0, atol=0.01)
    assert found.mse[:, 0].isinf().all()


def test_pairs_without_an_adversarial_image_are_told():
    found = evolutionary(lambda x: torch.arange(3) == 0, pictures(3).float(), None, TINY)
    assert found.found.tolist() == [True, False, False]
    assert found.mse[:, 0].isinf().tolist() == [False, True, True]


def test_one_positive_answer_of_a_random_model_is_believed():
    """Even an image that is adversarial half the time only: the search ends at the clean image itself."""
    coins, scene = seeded(5), HalfSpace()
    found = evolutionary(
        lambda _: torch.rand(P, generator=coins) < 0.5,
        scene.clean,
        scene.start,
        replace(TINY, queries=300, report=(300,)),
    )
    assert found.found.all()
    assert (found.mse < 1e-12).all()


def test_weighted_draws_are_in_proportion_and_distinct():
    weights, n = torch.tensor([1.0, 2.0, 5.0]), 40_000
    drawn = _weighted_draw(weights.expand(n, -1).clone(), 2, seeded())
    assert (drawn[:, 0] != drawn[:, 1]).all()
    for first, second in itertools.permutations(range(3), 2):
        share = weights[first] / 8 * weights[second] / (8 - weights[first])
        seen = ((drawn[:, 0] == first) & (drawn[:, 1] == second)).float().mean()
        assert abs(seen - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_pair_decisions_are_the_thresholded_cosine():
    model, x, reference = SmallNet(outputs=16).train(), pictures(), pictures(seed=2)
    same = torch.arange(12) % 2 == 0
    decision = pair_decision(model, reference, same, threshold=0.1)
    model.eval()
    cosine = (model.embed(x) * model.embed(reference)).sum(1)
    assert torch.equal(decision(x), torch.where(same, cosine < 0.1, cosine > 0.1))
    model.train()
    x, settings = pictures(), Evolution(grid=12, queries=40, report=(40,))
    found = evolutionary(decision, x, reference, settings, generator=seeded())
    assert all(module.training for module in model.modules())
    model.eval()
    assert torch.equal(decision(found.images)[found.found], found.found[found.found])
    assert (found.mse[:, 0] < (reference - x).square().flatten(1).mean(1))[found.found].all()


def test_misuse_is_told():
    decision = HalfSpace()
    x, start, short = decision.clean, decision.start, Evolution(queries=50, report=())
    with pytest.raises(WorkbookError, match="reports"):
        Evolution(queries=100)
    with pytest.raises(WorkbookError, match="More than 10"):
        Evolution(queries=10, report=())
    with pytest.raises(WorkbookError, match="bools"):
        evolutionary(lambda images: images.flatten(1).sum(1), x, start, short)
    with pytest.raises(WorkbookError, match="shape of the clean"):
        evolutionary(decision, x, start[..., :5], short)
    with pytest.raises(WorkbookError, match=r"\[0,1\]"):
        evolutionary(decision, 255 * x, start, short)
    assert ROBFR.window == 30
