import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.reducers import MeanReducer

from lib.attacks.embeddings import DISTANCES
from lib.errors import WorkbookError
from lib.models.dual_norm import DualBatchNorm2d, route
from lib.models.encoders import FaceEncoder
from lib.studies.acl_triplet.finetuning import TripletFineTuning, draw_triplets, hardest
from lib.training.loop import Recipe, fit

LABELS = torch.tensor([2, 0, 1, 2, 0, 9, 1, 2, 4, 4])  # person 9 has one picture
IMAGES = torch.rand(10, 3, 16, 16, generator=torch.Generator().manual_seed(1))
PEOPLE = torch.arange(4)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def start():
    torch.manual_seed(0)
    return FaceEncoder((16, 16), width=4, stem="half", dim=8, norm=DualBatchNorm2d)


@pytest.fixture
def model(start):
    return copy.deepcopy(start).train()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=3, max_size=25), st.integers(0, 1000))
def test_triplets_are_triplets(labels, seed):
    labels = torch.tensor(labels)
    several = [person for person in labels.unique() if (labels == person).sum() > 1]
    if len(labels.unique()) < 2 or not several:
        with pytest.raises(WorkbookError, match="two people"):
            draw_triplets(labels)
        return
    for count in (None, 7):
        anchor, positive, negative = draw_triplets(labels, count, generator(seed))
        assert len(anchor) == (count or len(several))
        assert torch.equal(labels[anchor], labels[positive])
        assert (anchor != positive).all()
        assert (labels[anchor] != labels[negative]).all()
    assert draw_triplets(labels)[0].unique().numel() == len(several)


def test_draws_are_uniform():
    anchor, positive, negative = draw_triplets(LABELS, 24_000, generator())
    mine = LABELS[anchor] == 2
    for positions, among in ((anchor[mine], 3), (positive[mine], 3), (negative[mine], 7)):
        shares = positions.bincount(minlength=10) / mine.sum()
        assert (shares > 0).sum() == among
        assert (shares[shares > 0] - 1 / among).abs().max() < 0.02
    assert (LABELS[anchor].bincount()[[0, 1, 2, 4]] / 24_000 - 0.25).abs().max() < 0.02


def test_the_hardest_negative_is_the_nearest_of_other_people():
    anchor, positive = torch.randn(2, 6, 4, generator=generator())
    for row, found in enumerate(hardest(anchor, positive)):
        others = [k for k in range(6) if k != row]
        assert found == max(others, key=lambda k: anchor[row] @ positive[k])
    with pytest.raises(WorkbookError, match="make it larger"):
        hardest(anchor[:1], positive[:1])


@pytest.mark.parametrize("distance", list(DISTANCES))
@pytest.mark.parametrize("mined", [False, True])
def test_the_loss_is_that_of_the_written_out_triplets(model, distance, mined):
    other = copy.deepcopy(model)
    loss = TripletFineTuning(IMAGES, LABELS, distance=distance, hardest=mined, steps=2, flip=False)
    found = loss(model, PEOPLE, generator(3))
    draw = generator(3)
    x = loss.pictures(other, PEOPLE, draw)
    with route(other, "clean"):
        z = other.embed(x)
    nearest = hardest(z[:4], z[4:8]) if mined else None
    negatives = z[4:8][nearest] if mined else z[8:]
    with route(other, "adversarial"):
        moved = other.embed(loss.attack(other, x, 4, nearest, draw))
    gaps = [
        DISTANCES[distance](a[i : i + 1], z[4 + i : 5 + i]) - DISTANCES[distance](a[i : i + 1], negatives[i : i + 1])
        for a in (z[:4], moved)
        for i in range(4)
    ]
    hinges = torch.cat(gaps).add(0.2).clamp(min=0)
    torch.testing.assert_close(found["loss"], hinges.mean())
    assert found["violated"] == (hinges > 0).float().mean()
    (one,) = torch.autograd.grad(found["loss"], model.trunk.stem[0].weight)
    (two,) = torch.autograd.grad(hinges.mean(), other.trunk.stem[0].weight)
    torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_standard_training_equals_pytorch_metric_learning(model):
    loss = TripletFineTuning(IMAGES, LABELS, adversarial=False, flip=False)
    z = copy.deepcopy(model).embed(loss.pictures(model, PEOPLE, generator()))
    rows = torch.arange(12).split(4)
    theirs = TripletMarginLoss(0.2, reducer=MeanReducer())(z, indices_tuple=rows)
    torch.testing.assert_close(loss(model, PEOPLE, generator())["loss"], theirs)


def passes(model, loss, index):
    """Images forward by mode and route, and backward, in one step."""
    seen = {"fixed": 0, "attack": 0, "train": 0, "backward": 0}

    def forward(module, inputs, output):
        kind = "train" if module.training else "attack" if output.requires_grad else "fixed"
        seen[kind] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: seen.__setitem__("backward", seen["backward"] + len(gradient)))

    hook = model.register_forward_hook(forward)
    loss(model, index, generator())["loss"].backward()
    hook.remove()
    return {kind: count / len(index) for kind, count in seen.items()}


@pytest.mark.parametrize(
    ("changes", "fixed", "attack", "train"),
    [({}, 2, 7, 4), ({"hinged": True}, 2, 7, 4), ({"hardest": True}, 1, 7, 3), ({"adversarial": False}, 0, 0, 3)],
)
def test_seven_iterations_cost_seven_anchor_passes_and_two_forwards(model, changes, fixed, attack, train):
    found = passes(model, TripletFineTuning(IMAGES, LABELS, **changes), PEOPLE)
    assert found == {"fixed": fixed, "attack": attack, "train": train, "backward": attack + train}


def test_the_attack_moves_satisfied_triplets_unless_hinged(model):
    model.eval()
    free = TripletFineTuning(IMAGES, LABELS, margin=-3.0, flip=False)  # every triplet keeps this margin
    x = free.pictures(model, PEOPLE, generator())
    hinged = TripletFineTuning(IMAGES, LABELS, margin=-3.0, flip=False, hinged=True)
    start = TripletFineTuning(IMAGES, LABELS, flip=False, steps=1, step=0.0)
    moved, still, begun = (loss.attack(model, x, 4, None, generator()) for loss in (free, hinged, start))
    assert torch.equal(still, begun)
    assert not torch.equal(moved, begun)
    assert ((moved - x[:4]).abs() <= 8 / 255 + 1e-6).all()

    def gap(images):
        with torch.no_grad():
            z = model.embed(torch.cat([images, x[4:]]))
        return (z[:4] - z[4:8]).norm(dim=1) - (z[:4] - z[8:]).norm(dim=1)

    assert (gap(moved) > gap(begun)).all()


def test_pictures_are_mirrored_one_by_one(model):
    loss = TripletFineTuning(IMAGES, LABELS, flip=True)
    plain = TripletFineTuning(IMAGES, LABELS, flip=False).pictures(model, PEOPLE, generator())
    x = loss.pictures(model, PEOPLE, generator())
    same, mirrored = ((x == images).flatten(1).all(1) for images in (plain, plain.flip(3)))
    assert (same | mirrored).all()
    assert same.any()
    assert mirrored.any()
    stored = TripletFineTuning((IMAGES * 255).byte(), LABELS).pictures(model, PEOPLE, generator())
    torch.testing.assert_close(stored, x, rtol=0, atol=1 / 255)


@pytest.mark.parametrize("adversarial", [True, False])
def test_routes_renew_their_own_statistics(model, adversarial):
    before = {name: value.clone() for name, value in model.named_buffers()}
    TripletFineTuning(IMAGES, LABELS, adversarial=adversarial)(model, PEOPLE, generator())
    moved = {name for name, value in model.named_buffers() if not torch.equal(before[name], value)}
    assert moved == {name for name in before if ".clean." in name or (adversarial and ".adversarial." in name)}


@pytest.mark.parametrize("mined", [False, True])
def test_every_weight_learns_also_in_bfloat16(model, mined):
    with torch.autocast("cpu", torch.bfloat16):
        found = TripletFineTuning(IMAGES, LABELS, margin=2.0, hardest=mined, steps=1)(model, PEOPLE, generator())
    found["loss"].backward()
    assert found["loss"].dtype == torch.float32
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == ["embedding.bias"] or not without


def test_fit_lowers_the_loss(model, tmp_path):
    loss = TripletFineTuning(IMAGES, LABELS, steps=1, flip=False)
    assert len(loss) == 4
    history = fit(model, loss, len(loss), Recipe(steps=15, batch=4, rate=3e-3), folder=tmp_path)
    assert history["loss"][-4:].mean() < 0.8 * history["loss"][:4].mean()
    assert set(history) == {"loss", "violated"}


def test_bad_input():
    with pytest.raises(WorkbookError, match="distance is one of"):
        TripletFineTuning(IMAGES, LABELS, distance="taxi")
    with pytest.raises(WorkbookError, match="one per image"):
        TripletFineTuning(IMAGES, LABELS[:5])
    with pytest.raises(WorkbookError, match="add pictures"):
        len(TripletFineTuning(IMAGES, torch.arange(10)))
