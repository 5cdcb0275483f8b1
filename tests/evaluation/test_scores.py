import torch
from torch import nn

from lib.data import load, make_pairs
from lib.evaluation import scores
from lib.models import from_module, similarity


def test_agrees_with_pair_by_pair(monkeypatch):
    monkeypatch.setattr(scores, "CHUNK", 3)
    faces = load("procedural", people=4, per_person=3, size=24)
    pairs = make_pairs(faces.labels, 6, 6, seed=0)
    model = from_module(nn.Sequential(nn.AvgPool2d(4), nn.Flatten()), size=(24, 24))
    slow = similarity(model, faces.images(pairs.first), faces.images(pairs.second))
    assert torch.allclose(scores.pair_scores(model, faces, pairs), slow, atol=1e-6)
