"""The small recogniser learns to tell strangers apart; a short training here, the full one in the pages."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from lib.data.procedural_faces.dataset import load_procedural
from lib.errors import WorkbookError
from lib.evaluation import auc
from lib.models import embed_all
from lib.models.small import SmallRecogniser
from lib.training.small_recogniser import (
    cosine_margin_loss,
    practice_faces,
    train_small_recogniser,
    training_losses,
)


def auc_of(model, faces):
    """AUC on the pairs of unseen people."""
    pairs, test = faces.pairs["test"], faces.splits["test"]
    embedded = torch.zeros(len(faces), 64)
    embedded[test] = embed_all(model, faces.images(test))
    score = (embedded[pairs.first] * embedded[pairs.second]).sum(1)
    return auc(score, pairs.same)


def test_margin_loss_against_the_formula():
    embeddings, prototypes = torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    half = 0.5**0.5
    logits = [[10 * (1 - 0.3), 0.0], [10 * half, 10 * (half - 0.3)]]
    expected = -torch.stack([F.log_softmax(torch.tensor(row), 0)[i] for i, row in enumerate(logits)]).mean()
    torch.testing.assert_close(cosine_margin_loss(embeddings, prototypes, torch.tensor([0, 1]), 10, 0.3), expected)


def test_short_training_verifies_strangers():
    faces = load_procedural(people=160, per_person=4, seed=11)
    model = train_small_recogniser(faces, steps=60)
    assert not model.training
    assert auc_of(model, faces) > 0.8


def test_the_loss_falls():
    faces = load_procedural(people=40, per_person=2)
    losses = list(training_losses(SmallRecogniser(), faces, steps=24, seed=0))
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


def test_the_same_seed_gives_the_same_weights():
    faces = load_procedural(people=10, per_person=2)
    before = torch.random.get_rng_state()
    one, again, other = (train_small_recogniser(faces, steps=3, seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not torch.equal(one["embedding.1.weight"], other["embedding.1.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_faces_without_known_factors_train_on_the_people_alone():
    faces = replace(load_procedural(people=8, per_person=2), attributes={}, splits={})
    assert not train_small_recogniser(faces, steps=2).training


def test_practice_people_are_not_those_of_the_default_set():
    assert practice_faces().fingerprint != load_procedural().fingerprint
    assert not torch.equal(practice_faces().attributes["identity"][0], load_procedural().attributes["identity"][0])


def test_bad_input_ends_in_one_sentence():
    with pytest.raises(WorkbookError, match="at least one training step"):
        train_small_recogniser(load_procedural(people=4, per_person=2), steps=0)
    with pytest.raises(WorkbookError, match="expects images of shape"):
        train_small_recogniser(load_procedural(people=4, per_person=2, size=64), steps=1)
