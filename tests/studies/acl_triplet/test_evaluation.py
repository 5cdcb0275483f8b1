"""The source's triplet tests and the fair one, against written-out distances and dead ends."""

import pytest
import torch

from lib.attacks import PGD, Linf, Threat, ascend, triplet
from lib.data.examples import ImagePairs
from lib.errors import WorkbookError
from lib.studies.acl_triplet.evaluation import (
    PAPER,
    TripletAttack,
    Triplets,
    TripletWatch,
    fair_distances,
    judge_triplets,
    ordered,
    ordered_by_budget,
    paper_distances,
    person_means,
    rounds_of,
    routed_pair_scores,
    triplet_distances,
)
from tests.attacks.small import SmallNet, pictures

MODEL = SmallNet()
A, N = pictures(40, seed=1).float(), pictures(40, seed=3).float()
P = (0.6 * A + 0.4 * pictures(40, seed=2).float()).clamp(0, 1)
TRIPLETS = Triplets(A, P, N)


@pytest.fixture(scope="module", autouse=True)
def single_precision():
    MODEL.float()
    yield
    MODEL.double()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def written_out(a, p, n, margin=0.0):
    with torch.no_grad():
        a, p, n = (MODEL.embed(images) for images in (a, p, n))
    return torch.stack([(a[i] - p[i]).norm() + margin < (a[i] - n[i]).norm() for i in range(len(a))])


def triplet_accuracy(triplets=TRIPLETS, margin=0.0, **settings):
    return ordered(triplet_distances(MODEL, triplets, **settings), margin)


def paper_attacked(attacked="positive", eps="8/255", settings=PAPER.settings, seed=None):
    draw = None if seed is None else generator(seed)
    return ordered(paper_distances(MODEL, TRIPLETS, attacked, Threat(settings, Linf(eps)), generator=draw))


def fair_attacked(draw=None, **changes):
    return ordered(fair_distances(MODEL, TRIPLETS, TripletAttack(**changes), draw))


def test_accuracy_with_and_without_a_margin():
    for margin in (0.0, 0.2, 0.5):
        found = triplet_accuracy(margin=margin)
        assert found.dtype == torch.bool
        assert torch.equal(found, written_out(A, P, N, margin))
    assert torch.equal(triplet_accuracy(distance="squared"), written_out(A, P, N))
    embedded = MODEL.embed(P).detach(), MODEL.embed(N).detach()
    assert torch.equal(triplet_accuracy(Triplets(A, *embedded)), written_out(A, P, N))
    assert not triplet_accuracy(Triplets(A, P, P)).any()  # a tie is not right


@pytest.mark.parametrize("attacked", ["positive", "anchor"])
def test_the_source_attacks_a_copy_of_the_anchor(attacked):
    still = paper_attacked(attacked, settings=PGD.but(steps=1, step=0.0, start="clean"))
    assert still.all()  # an unmoved copy is at distance 0
    weak = paper_attacked(attacked, eps="2/255", seed=0)
    strong = paper_attacked(attacked, eps="64/255", settings=PGD.but(steps=20), seed=0)
    assert weak.float().mean() > strong.float().mean()
    assert strong.float().mean() < 0.2


def test_attacking_the_anchor_is_the_stronger_reading():
    rates = [paper_attacked(which, seed=0).float().mean() for which in ("positive", "anchor")]
    assert rates[1] <= rates[0]


def test_the_anchor_reading_is_algorithm_2_with_its_own_picture_as_positive():
    moved = torch.cat(
        [
            ascend(triplet(MODEL, A[part], N[part]), A[part], Linf("8/255"), PGD.but(steps=7), generator=draw)
            for draw in [generator()]
            for part in (slice(0, 32), slice(32, 40))
        ]
    )
    assert torch.equal(paper_attacked("anchor", seed=0), written_out(moved, A, N))


def test_the_fair_test_is_a_worst_case():
    clean = triplet_accuracy()
    assert torch.equal(fair_attacked(restarts=0), clean)
    one, three = (fair_attacked(generator(), steps=5, restarts=count, eps="4/255") for count in (1, 3))
    assert not (one & ~clean).any()
    assert not (three & ~one).any()
    assert 0 < three.sum() < clean.sum()
    assert not fair_attacked(generator(), steps=40, restarts=2, eps="128/255", step="8/255").any()


def test_the_fair_attack_beats_its_random_starts():
    draw = generator()
    noise = (A + (torch.rand(A.shape, generator=draw) * 2 - 1) * 8 / 255).clamp(0, 1)
    assert fair_attacked(draw, steps=5, restarts=1).sum() < triplet_accuracy(Triplets(noise, P, N)).sum()


def test_positives_and_negatives_are_embedded_once():
    seen = []
    hook = MODEL.register_forward_hook(
        lambda _, inputs, output: None if output.requires_grad else seen.append(inputs[0])
    )
    judge_triplets(MODEL, "clean", TRIPLETS, steps=2, restarts=2)
    hook.remove()
    for images in (P, N):
        assert sum(len(x) for x in seen if (x[0] == images[:1]).all() or (x[0] == images[32:33]).all()) == len(images)


def test_all_tests_at_once_repeat():
    rates, again = (judge_triplets(MODEL, "clean", TRIPLETS, steps=3, restarts=1) for _ in range(2))
    assert list(rates) == ["SA", "RA", "RA, anchor", "RA*"]
    assert all(torch.equal(rates[name], again[name]) for name in rates)
    assert not (ordered(rates["RA*"]) & ~ordered(rates["SA"])).any()
    assert not MODEL.training


def test_bad_input():
    with pytest.raises(WorkbookError, match="as many anchors"):
        Triplets(A, P[:3], N)
    with pytest.raises(WorkbookError, match="distance is one of"):
        triplet_accuracy(distance="taxi")
    with pytest.raises(WorkbookError, match="positive or the anchor"):
        paper_attacked("negative")


def test_distances_answer_every_margin():
    worst = fair_distances(MODEL, TRIPLETS, TripletAttack(5, 2, "4/255"), generator())
    assert torch.equal(ordered(worst), fair_attacked(generator(), steps=5, restarts=2, eps="4/255"))
    clean = judge_triplets(MODEL, "clean", TRIPLETS, steps=2, restarts=1)["SA"]
    assert (worst[:, 0] - worst[:, 1] >= clean[:, 0] - clean[:, 1]).all()
    for margin in (0.0, 0.2):
        assert torch.equal(ordered(clean, margin), triplet_accuracy(margin=margin))


def test_the_hinge_stops_the_attack():
    free, hinged = (ordered_by_budget(MODEL, "clean", TRIPLETS, [("8/255", 10)], hinge)[0] for hinge in (None, -10.0))
    assert free.sum() < hinged.sum()  # a hinge that every triplet keeps: nobody moves
    assert torch.equal(hinged, triplet_accuracy())


def test_larger_budgets_break_more():
    kept = ordered_by_budget(MODEL, "clean", TRIPLETS, [("1/255", 5), ("8/255", 5), ("64/255", 20)]).sum(1)
    assert kept[0] > kept[1] > kept[2] == 0


def test_rounds_hold_every_person_once_each():
    labels = torch.tensor([5, 2, 5, 2, 9, 9, 9])
    images = labels.view(-1, 1, 1, 1).to(torch.uint8).expand(-1, 3, 2, 2)
    found = rounds_of(images, labels, 3)
    parts = (found.anchors, found.positives, found.negatives)
    a, p, n = ((255 * part[:, 0, 0, 0]).round().tolist() for part in parts)
    assert a == p == [2, 5, 9] * 3
    assert all(one != other for one, other in zip(a, n, strict=True))


def test_means_of_people():
    right = torch.tensor([[1, 0, 1, 0], [1, 0, 0, 0]]).bool()  # two seeds, two rounds of two people
    assert person_means(right, 2).tolist() == [0.75, 0.0]


def test_pairs_are_worse_under_attack():
    same = torch.arange(40) % 2 == 0
    clean, hit = routed_pair_scores(MODEL, "clean", ImagePairs(A, P, same), steps=3)
    assert (hit[same] <= clean[same] + 1e-6).all()
    assert (hit[~same] >= clean[~same] - 1e-6).all()


def test_the_watch_is_the_tests_in_small():
    found = TripletWatch(TRIPLETS, steps=3)(MODEL)
    assert list(found) == ["SA", "RA", "RA*", "held_out"]
    assert found["SA"] == triplet_accuracy().double().mean()
    assert found["held_out"] == 1 - (found["SA"] + found["RA*"]) / 2
    assert found["RA*"] < found["SA"]
    plain = TripletWatch(TRIPLETS, steps=3, robust=False)(MODEL)
    assert plain["held_out"] == 1 - plain["SA"]
