"""Both stages of ACL-triplet on people who are easy to tell apart: results, resuming, labels, and that they learn."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from lib.errors import WorkbookError
from lib.models import embed_all
from lib.models.dual_norm import DualBatchNorm1d, DualBatchNorm2d
from lib.studies.acl_triplet import training as acl
from lib.studies.acl_triplet.finetuning import TripletFineTuning
from lib.studies.acl_triplet.pretraining import some_labels
from lib.studies.acl_triplet.training import Network, Training, pretrain, tune
from lib.training import loop
from lib.training.adversarial_contrast import VARIANTS, AdversarialContrast
from lib.training.loop import Recipe
from tests.training.patterns import patterned

SMALL = Network(16, depth=18, width=4, stem="half", dim=8)
PLAIN = Network(16, depth=18, width=4, stem="half", dim=8, dual=False)
IMAGES, LABELS = patterned()
SHORT = Recipe(2, batch=12, rate=0.01, clip=1.0, check_every=1, seed=3)
STILL = Recipe(1, batch=12, rate=1e-12)  # one step that moves nothing
LIVES = {"steps": math.inf}  # how many more steps a mortal loss survives


class KilledError(Exception):
    pass


def mortal(method):
    def counted(self, *args):
        LIVES["steps"] -= 1
        if LIVES["steps"] < 0:
            raise KilledError
        return method(self, *args)

    return counted


@dataclass(frozen=True)
class Looks:
    """A measure that sees the encoder in stage 1 (inside its projected form) and in stage 2."""

    def __call__(self, model):
        return {"width": float(getattr(model, "encoder", model).embedding.weight.shape[0])}


@pytest.fixture(autouse=True)
def checkpoints(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "RUNS", tmp_path)
    return tmp_path / "checkpoints"


def moved(one, other, part):
    """Names holding `part` whose values differ by more than rounding."""
    return {name for name in one if part in name and not torch.allclose(one[name], other[name], atol=1e-6)}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def kinds(model):
    return {type(module) for module in model.modules() if "BatchNorm" in type(module).__name__}


@pytest.mark.parametrize(("network", "doubled"), [(SMALL, True), (PLAIN, False)])
def test_networks_have_the_asked_sizes_and_norms(network, doubled):
    encoder, model = network.encoder(), network.projected()
    assert encoder.size == (16, 16)
    assert encoder.trunk.dim == 32
    assert (DualBatchNorm2d in kinds(encoder)) == doubled
    assert (DualBatchNorm1d in kinds(model.projector)) == doubled
    assert [tuple(part.weight.shape) for part in model.projector if isinstance(part, nn.Linear)] == [(16, 32), (8, 16)]
    assert encoder.trunk.stem[0].weight.is_contiguous(memory_format=torch.channels_last)
    x = IMAGES[:3].float() / 255
    assert encoder.eval()(x).shape == model.eval().embed(x).shape == (3, 8)


def test_the_default_is_the_sources_network():
    source = Network(160)
    assert (source.depth, source.width, source.stem, source.dual) == (50, 64, "imagenet", True)
    assert Network(32, 50, 2, "imagenet").encoder().trunk.dim == 64


def test_weights_follow_from_the_seed_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, again, other = (SMALL.projected(seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert same(one, again)
    assert {"encoder.embedding.weight", "projector.0.weight"} <= moved(one, other, "weight")
    encoder = {name.removeprefix("encoder."): value for name, value in one.items() if name.startswith("encoder.")}
    assert same(SMALL.encoder(1).state_dict(), encoder)


@pytest.mark.parametrize("variant", VARIANTS)
def test_pre_training_gives_the_encoder_and_every_metric(variant):
    result = pretrain(IMAGES, Training(SMALL, SHORT, Looks()), variant=variant)
    assert result.keys() == {"weights", "history"}
    assert {name: len(values) for name, values in result["history"].items()} == {
        **dict.fromkeys(("loss", "alignment", "uniformity", "width", "checked"), 2)
    }
    start = SMALL.encoder(SHORT.seed).state_dict()
    assert result["weights"].keys() == start.keys()
    assert not moved(start, result["weights"], "embedding")
    assert "trunk.stem.0.weight" in moved(start, result["weights"], "trunk")
    assert moved(start, result["weights"], ".clean.")
    assert bool(moved(start, result["weights"], ".adversarial.")) == (variant != "clean")


@pytest.mark.parametrize("adversarial", [True, False])
def test_fine_tuning_gives_the_encoder_and_every_metric(adversarial):
    result = tune(IMAGES, LABELS, Training(SMALL, SHORT, Looks()), adversarial=adversarial)
    assert {name: len(values) for name, values in result["history"].items()} == {
        **dict.fromkeys(("loss", "violated", "width", "checked"), 2)
    }
    start = SMALL.encoder(SHORT.seed).state_dict()
    assert "embedding.weight" in moved(start, result["weights"], "embedding")
    weights = result["weights"]
    copies = {name: torch.equal(weights[name], weights[name.replace(".adversarial.", ".clean.")]) for name in weights}
    assert all(copies.values()) == (not adversarial)  # a standard training has seen no attacked picture


def test_loaded_is_the_trained_encoder_frozen():
    result = tune(IMAGES, LABELS, Training(SMALL, SHORT))
    model = SMALL.loaded(result)
    assert same(model.state_dict(), result["weights"])
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


STAGES = {
    "pretrain": (
        AdversarialContrast,
        "contrast",
        lambda recipe: pretrain(IMAGES, Training(SMALL, recipe), LABELS, share=0.5),
    ),
    "tune": (TripletFineTuning, "pictures", lambda recipe: tune(IMAGES, LABELS, Training(SMALL, recipe))),
}


@pytest.mark.parametrize(("loss", "method", "stage"), STAGES.values(), ids=STAGES)
def test_a_killed_stage_ends_as_if_never_killed(loss, method, stage, checkpoints, monkeypatch):
    recipe = Recipe(4, batch=12, rate=0.01, clip=1.0, warmup=1)
    whole = stage(recipe)
    monkeypatch.setattr(loop, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(loss, method, mortal(getattr(loss, method)))
    monkeypatch.setitem(LIVES, "steps", 3)
    with pytest.raises(KilledError):
        stage(recipe)
    assert len(list(checkpoints.glob("*.pt"))) == 1
    monkeypatch.setitem(LIVES, "steps", 1)  # no step is done twice
    resumed = stage(recipe)
    assert same(whole["weights"], resumed["weights"])
    assert same(whole["history"], resumed["history"])
    assert not list(checkpoints.glob("*.pt"))


def test_people_without_a_label_are_left_out():
    """Their pictures hold nan, which a single use would carry into the loss."""
    known, images = LABELS >= 4, IMAGES.float() / 255
    hidden = tune(
        images.masked_fill(~known.view(-1, 1, 1, 1), torch.nan), LABELS.where(known, -1), Training(SMALL, SHORT)
    )
    alone = tune(images[known], LABELS[known], Training(SMALL, SHORT))
    assert same(hidden["weights"], alone["weights"])
    assert same(hidden["history"], alone["history"])


def test_fine_tuning_starts_from_the_given_weights():
    start = pretrain(IMAGES, Training(SMALL, SHORT))
    begun, anew = (tune(IMAGES, LABELS, Training(SMALL, STILL), before)["weights"] for before in (start, None))
    weights = dict(SMALL.encoder().named_parameters())
    for result, wanted in ((begun, start["weights"]), (anew, SMALL.encoder(STILL.seed).state_dict())):
        assert all(torch.allclose(result[name], wanted[name], atol=1e-6) for name in weights)
    assert "trunk.stem.0.weight" in moved(begun, anew, "trunk")


def test_a_share_of_the_labels_enters_the_contrast(monkeypatch):
    losses = [
        pretrain(IMAGES, Training(SMALL, STILL), LABELS, share)["history"]["loss"].item() for share in (0.0, 0.5, 1.0)
    ]
    assert len(set(losses)) == 3
    assert losses[0] == pretrain(IMAGES, Training(SMALL, STILL))["history"]["loss"].item()
    seen = []
    monkeypatch.setattr(acl, "fit", lambda model, loss, *args, **settings: seen.append(loss) or {})
    for share in (0.0, 0.25):
        pretrain(IMAGES, Training(SMALL, SHORT), LABELS, share, variant="dual")
    without, some = seen
    assert without.labels is None
    assert not without.partners
    assert torch.equal(some.labels, some_labels(LABELS, 0.25, SHORT.seed))
    assert len(some.labels[some.labels >= 0].unique()) == 3
    assert some.partners


@pytest.mark.parametrize(("variant", "network"), [("single", SMALL), ("dual", SMALL), ("single", PLAIN)])
def test_pre_training_learns_to_tell_pictures_apart(variant, network):
    """An encoder that maps all of n pictures to one point has the loss log(2n - 1) and nothing to gain there."""
    images = patterned(each=1)[0]
    history = pretrain(images, Training(network, Recipe(40, batch=12, rate=0.01, clip=1.0)), variant=variant)["history"]
    first, last = (
        {name: values[part].mean() for name, values in history.items()} for part in (slice(4), slice(-6, None))
    )
    assert last["loss"] < 0.85 * first["loss"]
    assert last["loss"] < 0.8 * math.log(2 * 12 - 1)
    assert last["alignment"] < 0.6 * first["alignment"]


def gap(encoder, images, labels):
    """Mean cosine of two pictures of one person less that of two people."""
    z = embed_all(encoder.eval(), images.float() / 255)
    cosine, mates = z @ z.T, labels[:, None] == labels
    return (cosine[mates].mean() - cosine[~mates].mean()).item()


@pytest.mark.parametrize("adversarial", [True, False])
def test_fine_tuning_learns_to_tell_people_apart(adversarial):
    """Also on pictures it has not seen; a collapsed encoder has the margin 0.2 as its loss and no gap."""
    result = tune(IMAGES, LABELS, Training(SMALL, Recipe(30, batch=12, rate=0.01, clip=1.0)), adversarial=adversarial)
    loss, fresh = result["history"]["loss"], patterned(seed=1)
    assert loss[-6:].mean() < 0.5 * loss[:3].mean() < 0.2
    assert gap(SMALL.loaded(result), *fresh) > 0.2 + gap(SMALL.encoder(), *fresh)


def test_a_share_of_no_labels():
    images, _ = patterned()
    with pytest.raises(WorkbookError, match="no labels came"):
        pretrain(images, Training(Network(16, 18, 4, "half"), Recipe(1, 4)), None, 0.5)
