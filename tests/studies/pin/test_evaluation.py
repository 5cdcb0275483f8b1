"""Every defence against every attack: scores, their joining, the mean over draws."""

import pytest
import torch

from lib.data.examples import ImagePairs
from lib.data.sets import ImageSet
from lib.defences import Defended
from lib.evaluation import eer
from lib.evaluation.randomised_defences import scores_over_draws
from lib.models import GrayInput, similarity
from lib.models.small import SmallRecogniser
from lib.studies.pin.attacks import attack_pairs
from lib.studies.pin.evaluation import (
    Contest,
    GalleryProtocol,
    online_scores,
    over_galleries,
    scores_of_all,
    sum_of_errors,
)
from lib.studies.pin.galleries import gallery, ordered_pairs, some_pairs
from lib.studies.pin.pca_tradeoff import gray_pairs, join_scores
from tests.studies.pin.small import Run


class Blur(torch.nn.Module):
    """A defence that anyone can differentiate."""

    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, 3, 1, 1)


class Flicker(torch.nn.Module):
    """A defence that draws."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


@pytest.fixture(scope="module")
def contest():
    torch.manual_seed(0)
    x, y = torch.rand(6, 1, 112, 112), torch.rand(6, 1, 112, 112)
    same = torch.arange(6) < 3
    pairs = ImagePairs(x, y, same)
    return Contest(Run(), pairs, pairs, {"flicker": 3})


@pytest.fixture(scope="module")
def systems():
    torch.manual_seed(0)
    bare = GrayInput(SmallRecogniser().eval().requires_grad_(False)).eval()
    return {"none": bare, "blur": Defended(bare, Blur()).eval(), "flicker": Defended(bare, Flicker()).eval()}


def test_offline_scores_are_those_of_one_attack_on_the_bare_model(contest, systems):
    scores = contest.offline(systems["none"], systems, ("FGSM",))
    assert {name: tuple(part.shape) for name, part in scores["clean"].items()} == {
        "none": (1, 6),
        "blur": (1, 6),
        "flicker": (3, 6),
    }
    assert torch.allclose(
        scores["clean"]["blur"][0], similarity(systems["blur"], contest.pairs.x, contest.pairs.y), atol=1e-5
    )
    hit = contest.attacked(systems["none"], ("FGSM",))["FGSM"]
    assert torch.allclose(
        scores["offline / FGSM"]["blur"][0], similarity(systems["blur"], hit, contest.pairs.y), atol=1e-5
    )
    better = scores["offline / FGSM"]["none"][0] - scores["clean"]["none"][0]
    assert (better[contest.pairs.same] < 0).all()
    assert (better[~contest.pairs.same] > 0).all()


def test_online_attacks_go_through_the_system_and_draws_differ(contest, systems):
    scores = contest.online({"flicker": systems["flicker"]}, ("FGSM",))["online / FGSM"]["flicker"]
    assert scores.shape == (3, 6)
    assert not torch.equal(scores[0], scores[1])
    again = contest.online({"flicker": systems["flicker"]}, ("FGSM",))["online / FGSM"]["flicker"]
    assert torch.equal(scores, again)


def test_online_scores_judge_with_fresh_draws(contest, systems):
    """The draws that the attacks saw are not the ones they are judged by; every attack meets the same ones."""
    data = (systems["flicker"], contest.pairs)
    found = online_scores(["FGSM", "DeepFool"], *data, threshold=0.1, draws=2, seed=4)
    assert {name: scores.shape for name, scores in found.items()} == {"FGSM": (2, 6), "DeepFool": (2, 6)}
    adversarial = attack_pairs("FGSM", *data, seed=4)
    alone = online_scores(["FGSM"], *data, threshold=0.1, draws=2, seed=4)["FGSM"]
    torch.testing.assert_close(alone[0], found["FGSM"][0], atol=0.05, rtol=0)
    seen = scores_over_draws(systems["flicker"], adversarial, contest.pairs.y, 2, seed=4)
    assert not torch.allclose(seen[0], alone[0], atol=1e-5)


def test_galleries_give_one_rate_a_draw_of_pictures(systems, contest):
    labels, draw = torch.arange(12) // 4, torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (12, 3, 112, 112), generator=draw, dtype=torch.uint8)
    faces = ImageSet("made", "made", labels, ["a", "b", "c"], list("abcdefghijkl"), lambda at: pictures[at], "made")
    found = over_galleries(
        contest, faces, torch.tensor([0, 2]), systems, ("FGSM",), GalleryProtocol(2, 3, 3, offline_only=("blur",))
    )
    assert {len(rates) for rates in found.values()} == {2}
    assert set(found) == {(c, n) for c in ("clean", "offline / FGSM") for n in systems} | {
        ("online / FGSM", "flicker"),
        ("online / FGSM", "none"),
    }
    assert found["online / FGSM", "none"] == found["offline / FGSM", "none"]
    index = gallery(labels, torch.tensor([0, 2]), 3, 1)
    some = some_pairs(ordered_pairs(labels, index), 3, 1)
    drawn = gray_pairs(faces, some)
    assert found["clean", "none"][1] == pytest.approx(
        100 * eer(similarity(systems["none"], drawn.x, drawn.y), some.same)
    )


def test_thin_keeps_every_second_pair(contest):
    assert torch.equal(contest.thin(2).pairs.x, contest.pairs.x[::2])
    assert contest.thin(2).draws == contest.draws


def test_join_puts_pairs_side_by_side():
    part = {"clean": {"none": torch.zeros(2, 3)}}
    assert join_scores([part, part])["clean"]["none"].shape == (2, 6)


def test_scores_of_all_embeds_every_version(contest, systems):
    found = scores_of_all(systems["none"], {"a": contest.pairs.x, "b": contest.pairs.y}, contest.pairs.y)
    assert torch.allclose(found["b"], torch.ones(1, 6), atol=1e-5)


def test_sum_of_errors_is_zero_for_a_perfect_system(systems):
    x = torch.rand(4, 1, 112, 112)
    y = torch.cat([x[:2], 1 - x[2:]])
    same = torch.tensor([True, True, False, False])
    assert sum_of_errors(systems["none"], ImagePairs(x, y, same), x) == 0
