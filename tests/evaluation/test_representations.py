"""What is measured on a representation while it is learnt, against loops, hand cases and scikit-learn."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn

from lib.cache import digest, kept
from lib.errors import WorkbookError
from lib.evaluation import eer
from lib.evaluation.representations import (
    Probe,
    Representation,
    Watch,
    answers,
    attacked,
    effective_rank,
    linear_probe,
    plateau,
    watch_of,
)
from lib.losses.contrastive import alignment, uniformity
from lib.models import embed_all
from lib.models.dual_norm import route
from lib.studies.acl_triplet.training import Network, Training, pretrain
from lib.training import loop
from lib.training.loop import Recipe
from tests.training.patterns import patterned

SMALL = Network(16, depth=18, width=4, stem="half", dim=8)
IMAGES, LABELS = patterned(people=6)
X = IMAGES.float() / 255
KEYS = ["EER", "EER attacked", "probe", "probe attacked", "alignment of people", "uniformity of people", "rank"]


@pytest.fixture(scope="module")
def model():
    """An untrained encoder whose two routes know the statistics of different pictures."""
    encoder = SMALL.projected().train()
    with torch.no_grad():
        for _ in range(30):
            for name, x in (("clean", X), ("adversarial", 1 - X / 2)):
                with route(encoder, name):
                    encoder(x)
    return encoder.eval().requires_grad_(False)


@pytest.fixture
def watch():
    """Pictures 0 and 1 of each person as a pair, and 0 with the next one's."""
    first, same = torch.arange(0, 24, 4).repeat(2), torch.arange(12) < 6
    second = torch.where(same, first + 1, (first + 4) % 24)
    people = torch.stack([first, second], 1) // 4
    return Watch(X[first], X[second], same, people, X, LABELS, torch.arange(24) % 4 < 2, eps="16/255", steps=3)


def rows(n, d, seed=0):
    return F.normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.mark.parametrize("way", ["clean", "adversarial"])
def test_a_representation_is_the_trunk_on_its_route(model, way):
    trunk = Representation(model.encoder, way)
    with route(model, way):
        wanted = model.encoder.trunk((X - 0.5) / 0.25)
    torch.testing.assert_close(trunk(X), wanted)
    torch.testing.assert_close(trunk.embed(X), wanted / wanted.norm(dim=1, keepdim=True))
    assert trunk(X[:3]).shape == (3, 32)
    assert way in trunk.name
    torch.testing.assert_close(model.encoder.representation(X), Representation(model.encoder, "clean")(X))


def test_the_route_matters_and_keys_a_kept_result(model):
    ways = [Representation(model.encoder, way) for way in ("clean", "adversarial")]
    assert not torch.allclose(ways[0](X), ways[1](X), atol=0.1)
    assert digest(ways[0]) != digest(ways[1])
    assert digest(ways[0]) == digest(Representation(model.encoder, "clean"))
    with pytest.raises(WorkbookError, match="route is one of clean, adversarial"):
        Representation(model.encoder, "attacked")(X)


def test_effective_rank_by_hand():
    signs = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    line = signs @ torch.tensor([[2.0, 1.0, -3.0]])
    assert effective_rank(line + 5) == pytest.approx(1)  # one direction, wherever the cloud lies
    assert effective_rank(torch.ones(4, 3)) == pytest.approx(1)
    corners = torch.cat([torch.eye(5), -torch.eye(5)])
    assert effective_rank(corners) == pytest.approx(5)
    assert effective_rank(1e-3 * corners) == pytest.approx(5)
    stretched = corners[:, :2] * torch.tensor([3.0, 1.0])  # singular values 3 : 1
    assert effective_rank(stretched) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


def test_each_attacked_picture_is_at_least_as_bad(model, watch):
    trunk = Representation(model.encoder)
    moved = attacked(trunk, watch.x, watch.y, watch.same, "8/255", 3)
    assert (moved - watch.x).abs().max() <= 8 / 255 + 1e-6
    before, after = ((embed_all(trunk, part) * embed_all(trunk, watch.y)).sum(1) for part in (watch.x, moved))
    sign = torch.where(watch.same, -1.0, 1.0)
    assert (sign * (after - before) >= -1e-6).all()
    assert (sign * (after - before)).mean() > 1e-3
    assert torch.equal(moved, attacked(trunk, watch.x, watch.y, watch.same, "8/255", 3))


@pytest.mark.parametrize("people", [2, 3, 6])
def test_a_probe_predicts_what_scikit_learn_does(model, people):
    trunk, mine = Representation(model.encoder), torch.isin(LABELS, torch.arange(people))
    fit, x, y = torch.arange(24)[mine] % 4 < 2, X[mine], LABELS[mine]
    probe, features = linear_probe(trunk, x[fit], y[fit]), embed_all(trunk, x).numpy()
    theirs = LogisticRegression(C=100.0, max_iter=2000).fit(features[fit], y[fit].numpy())
    assert answers(probe, x).tolist() == theirs.predict(features).tolist()
    assert len(set(answers(probe, x).tolist())) == people
    chances = torch.as_tensor(theirs.predict_proba(features), dtype=torch.float32)
    torch.testing.assert_close(probe(x).softmax(1), chances, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("labels", [LABELS + 1, LABELS * 2, LABELS * 0, LABELS[:0]])
def test_a_probe_refuses_people_it_would_misname(model, labels):
    with pytest.raises(WorkbookError, match="numbered from 0 without a gap"):
        linear_probe(Representation(model.encoder), X[: len(labels)], labels)


def test_answers_do_not_depend_on_the_batch(model):
    weight = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    probe = Probe(Representation(model.encoder), weight, torch.zeros(5))
    whole = answers(probe, X)
    assert torch.equal(whole, probe(X).argmax(1))
    assert torch.equal(whole, answers(probe, X, batch=7))
    assert len(whole.unique()) > 1
    x = X.clone().requires_grad_()
    assert not answers(probe, x).requires_grad


@torch.no_grad()
def test_a_look_measures_all_and_attacks_do_not_help(model, watch):
    """As `fit` calls it; with 16/255 and three steps they do harm."""
    found = watch(model)
    assert list(found) == KEYS
    assert all(math.isfinite(value) for value in found.values())
    assert found["EER attacked"] > found["EER"]
    assert found["probe attacked"] < found["probe"]
    assert 1 <= found["rank"] <= 12
    again = Watch(**{**vars(watch), "steps": 1, "eps": 0.0})(model)
    assert again["EER attacked"] == again["EER"] == found["EER"]
    assert again["probe attacked"] == again["probe"] == found["probe"]


def test_a_look_takes_its_route_and_a_bare_encoder_too(model, watch):
    clean = Watch(**{**vars(watch), "way": "clean"})
    assert clean(model) == clean(model.encoder)
    assert clean(model)["rank"] != watch(model)["rank"]
    trunk = Representation(model.encoder)
    first, second = embed_all(trunk, watch.x), embed_all(trunk, watch.y)
    found = watch(model)
    assert found["EER"] == eer((first * second).sum(1), watch.same)
    assert found["alignment of people"] == alignment(first[:6], second[:6])
    assert found["uniformity of people"] == uniformity(first)
    assert found["rank"] == effective_rank(first)


def test_what_is_judged_can_be_kept(model, watch, tmp_path):
    found = watch.judge(model.encoder)
    again = kept(Watch.judge, watch, model.encoder, folder=tmp_path)
    assert found.keys() == again.keys()
    assert all(torch.equal(found[name], again[name]) for name in found)
    cosine = torch.stack([found["clean"], found["attacked"]])[:, watch.same]
    assert (cosine[1] <= cosine[0] + 1e-6).all()
    assert len(found["right"]) == len(found["right attacked"]) == 12


def test_a_watch_is_made_of_pictures_and_labels():
    """People of 4, 4, 5, 3 and 6 pictures in a mixed order: the probe takes up to three of those with four or more."""
    labels = torch.tensor([7] * 4 + [2] * 4 + [9] * 5 + [4] * 3 + [5] * 6)
    labels = labels[torch.randperm(22, generator=torch.Generator().manual_seed(0))]
    images = torch.arange(22, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    watch = watch_of(images, labels, pairs=10, people=3, steps=2, way="clean")
    first, second, probed = ((255 * part[:, 0, 0, 0]).round().long() for part in (watch.x, watch.y, watch.images))
    assert torch.equal(labels[first] == labels[second], watch.same)
    assert (first != second).all()
    assert watch.same.sum() == 5
    assert labels[probed].unique().tolist() == [2, 7, 9]
    assert len(probed) == 13
    assert torch.equal(torch.tensor([2, 7, 9])[watch.labels], labels[probed])
    for person in range(3):
        assert watch.fit[watch.labels == person].tolist() == [True, False, True, False, True][: 5 if person == 2 else 4]
    assert (watch.steps, watch.way) == (2, "clean")


def test_looking_leaves_the_training_as_it_was(watch, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    recipe = Recipe(3, batch=12, rate=0.01, check_every=2)
    seen, unseen = (pretrain(IMAGES, Training(SMALL, recipe, measure)) for measure in (watch, None))
    assert all(torch.equal(seen["weights"][name], value) for name, value in unseen["weights"].items())
    assert seen["history"]["checked"].tolist() == [2, 3]
    last = watch(SMALL.loaded(seen))
    for name in KEYS:
        assert seen["history"][name][-1].item() == pytest.approx(last[name], abs=1e-5)


def test_a_look_keeps_every_weight(model, watch):
    before = copy.deepcopy(model.state_dict())
    watch(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_plateau_by_hand():
    line = torch.arange(10.0, -1, -1)  # 10, 9, ..., 0
    assert plateau(line) == 9
    assert plateau(line, share=0.5) == 5
    assert plateau(line, share=1.0) == 10
    assert plateau(line, window=2) == 10  # means 9.5, ..., 0.5: the last of them alone is below 9.5 - 0.9 * 9
    assert plateau(torch.tensor([8.0, 4, 2, 1, 1, 1])) == 3
    assert plateau(torch.tensor([3.0])) == plateau(torch.full((4,), 2.0)) == 0
    assert plateau(torch.tensor([4.0, 2.0]), window=9) == 1  # one mean over both
    noisy = torch.tensor([10.0, 0, 8, 6, 6, 0, 4, 2, 2, 0, 2, 0])
    assert plateau(noisy) == 1  # a lucky step
    assert plateau(noisy, window=2) == 9  # means 5, 4, 7, 6, 3, 2, 3, 2, 1, ...: the ninth, of steps 8 and 9


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(0, 5), min_size=1, max_size=12),
    st.floats(0, 1) | st.just(1.0),
    st.integers(1, 4),
)
def test_the_plateau_is_the_first_step_that_is_low_enough(values, share, window):
    loss, width = torch.tensor(values, dtype=torch.float64), min(window, len(values))
    means = [sum(values[k : k + width]) / width for k in range(len(values) - width + 1)]
    target = means[0] - share * (means[0] - means[-1])
    found = plateau(loss, share, window) - width + 1
    assert means[found] <= target + 1e-9
    assert all(mean > target - 1e-9 for mean in means[:found])


def test_a_probe_is_a_module_on_unit_features(model):
    weight, bias = torch.randn(3, 32), torch.randn(3)
    probe = Probe(Representation(model.encoder), weight, bias)
    wanted = nn.functional.linear(Representation(model.encoder).embed(X), weight, bias)
    torch.testing.assert_close(probe(X), wanted)
