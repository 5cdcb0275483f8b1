import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

from lib.errors import WorkbookError
from lib.studies.robust_ssl.probes import (
    ProbeRecipe,
    features_of,
    fit_probe,
    judged,
    logistic,
    nearest_neighbours,
    probe_from,
)


def clouds(count=90, seed=0, shift=2.0):
    """Features (count, 4) of three classes around three places."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return torch.randn(count, 4, generator=draw) + shift * F.one_hot(labels, 4).float(), labels


def test_the_probe_is_scikit_learns_logistic_regression():
    x, labels = clouds()
    weight, bias = logistic(x, labels, 3, 1e-2, 200)
    theirs = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-8, max_iter=1000).fit(x.numpy(), labels.numpy())
    ours = F.linear(x, weight, bias).softmax(1)
    assert torch.allclose(ours, torch.from_numpy(theirs.predict_proba(x.numpy())).float(), atol=1e-3)


def test_the_decay_is_chosen_on_held_out_features():
    found = fit_probe(clouds(), clouds(60, 1), ProbeRecipe(decays=(1e-4, 10.0)))
    assert found["decay"] == (1e-4, 10.0)[int(found["accuracies"].argmax())]
    x, labels = clouds(60, 1)
    probe = probe_from(nn.Identity(), found)
    assert (probe(x).argmax(1) == labels).float().mean().item() == pytest.approx(found["accuracies"].max().item())


def test_neighbours_by_rows():
    x, labels = clouds(30)
    asked, _ = clouds(9, 3)
    unit, others = F.normalize(x, dim=1), F.normalize(asked, dim=1)
    wanted = []
    for row in others:
        cosines = [(row @ one).item() for one in unit]
        near = sorted(range(30), key=lambda at: -cosines[at])[:5]
        votes = [sum(torch.tensor(cosines[at] / 0.1).exp().item() for at in near if labels[at] == c) for c in range(3)]
        wanted.append(votes.index(max(votes)))
    assert nearest_neighbours(x, labels, asked, k=5).tolist() == wanted


def test_judging_reads_features_in_eval_mode_and_puts_the_mode_back():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.Dropout(0.5)).train()
    images = {name: torch.randint(0, 256, (12, 3, 2, 2), dtype=torch.uint8) for name in ("learn", "held", "test")}
    found = judged(encoder, images, dict.fromkeys(images, torch.arange(12) % 3))
    assert encoder.training
    assert found["linear"].shape == found["kNN"].shape == (12,)
    assert torch.equal(features_of(encoder, images["test"]), features_of(encoder, images["test"].float() / 255))


def test_one_class_is_told():
    x, _ = clouds(6)
    with pytest.raises(WorkbookError, match="two classes or more"):
        fit_probe((x, torch.zeros(6, dtype=torch.long)), (x, torch.zeros(6, dtype=torch.long)))
